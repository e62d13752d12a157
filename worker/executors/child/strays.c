/* Nobody waits for them, so one timer looks at all of them a few times a second, as long as there are
 * any. One that is killed and still there is looked at again, and killed again. */
#include "executors/child/strays.h"

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "executors/child/group.h"
#include "executors/child/guardian.h"
#include "loop/loop.h"

#include <signal.h>

enum { LOOK_MS = 200 };

struct stray {
	struct list in_all;
	pid_t group, witness;
	uint32_t place;
	uint64_t kill_ns;
	bool said;
};

struct strays {
	struct loop *loop;
	struct log *log;
	struct guardian *guardian;
	struct timer *look;
	struct list all;
};

static void forget(struct strays *strays, struct stray *stray)
{
	guardian_leave(strays->guardian, stray->place);
	list_remove(&stray->in_all);
	memory_free(stray);
}

static void look_at(struct strays *strays, struct stray *stray, uint64_t now_ns)
{
	if (!group_lives(stray->group, &stray->witness)) {
		forget(strays, stray);
		return;
	}
	if (now_ns < stray->kill_ns)
		return;
	if (!stray->said)
		log_say(strays->log, LOG_WARN, "killed what a job left running",
			kv_int("group", stray->group));
	stray->said = true;
	(void)kill(-stray->group, SIGKILL);
}

static void look(void *arg)
{
	struct strays *strays = arg;
	uint64_t now_ns = loop_now_ns(strays->loop);
	list_each_safe (it, &strays->all) {
		look_at(strays, list_entry(it, struct stray, in_all), now_ns);
	}
	if (!list_empty(&strays->all))
		timer_start(strays->look, LOOK_MS);
}

void strays_add(struct strays *strays, pid_t group, pid_t witness, uint32_t place,
		uint64_t grace_ms)
{
	struct stray *stray = memory_clear(1, sizeof *stray);
	if (stray == NULL) {
		(void)kill(-group, SIGKILL);
		guardian_leave(strays->guardian, place);
		return;
	}
	stray->group = group;
	stray->witness = witness;
	stray->place = place;
	stray->kill_ns = loop_now_ns(strays->loop) + grace_ms * UINT64_C(1000000);
	list_append(&strays->all, &stray->in_all);
	if (!timer_armed(strays->look))
		timer_start(strays->look, LOOK_MS);
}

struct strays *strays_create(struct loop *loop, struct log *log, struct guardian *guardian)
{
	struct strays *strays = memory_clear(1, sizeof *strays);
	if (strays == NULL)
		return NULL;
	*strays = (struct strays){.loop = loop, .log = log, .guardian = guardian};
	list_init(&strays->all);
	strays->look = timer_create_on(loop, look, strays);
	if (strays->look == NULL) {
		memory_free(strays);
		return NULL;
	}
	return strays;
}

void strays_destroy(struct strays *strays)
{
	struct list *it;
	if (strays == NULL)
		return;
	while ((it = list_take_first(&strays->all)) != NULL)
		memory_free(list_entry(it, struct stray, in_all));
	timer_destroy(strays->look);
	memory_free(strays);
}
