/* A round has a number. Answers of another round come too late and are dropped, so nothing has to be
 * taken back when a connection dies in the middle: the two seconds are enough. */
#include "sources/census.h"

#include "base/memory.h"
#include "base/text.h"
#include "dispatch/routes.h"
#include "loop/loop.h"
#include "sources/source.h"

enum { PATIENCE_MS = 2000 };

struct census {
	const struct roster *roster;
	struct timer *timer; /* the end of the round: all is told, or it is time */
	void (*done)(void *arg);
	void *arg;
	unsigned round;
	bool under_way;
	size_t to_tell;   /* queues that nobody has told about yet */
	size_t not_known; /* of those that were told about */
	struct text alone;
	struct text left; /* the same, of queues that were removed during the round */
};

static void end_round(void *arg)
{
	struct census *census = arg;
	timer_stop(census->timer);
	census->not_known += census->to_tell;
	census->to_tell = 0;
	census->under_way = false;
	census->done(census->arg);
}

struct census *census_create(struct loop *loop, const struct roster *roster,
			     void (*done)(void *arg), void *arg)
{
	struct census *census = memory_clear(1, sizeof *census);
	if (census == NULL)
		return NULL;
	*census = (struct census){.roster = roster, .done = done, .arg = arg};
	census->timer = timer_create_on(loop, end_round, census);
	if (census->timer != NULL)
		return census;
	memory_free(census);
	return NULL;
}

void census_destroy(struct census *census)
{
	if (census == NULL)
		return;
	timer_destroy(census->timer);
	text_fini(&census->alone);
	text_fini(&census->left);
	memory_free(census);
}

void census_begin(struct census *census)
{
	if (census->under_way)
		return;
	census->under_way = true;
	census->round++;
	census->not_known = 0;
	census->to_tell = 0;
	text_clear(&census->alone);
	text_clear(&census->left);
	list_each (it, &census->roster->routes)
		census->to_tell += !list_entry(it, struct route, in_roster)->retired;
	timer_start(census->timer, census->to_tell > 0 ? PATIENCE_MS : 0);
	list_each (it, &census->roster->sources) {
		struct source *source = list_entry(it, struct source, in_roster);
		source->ops->count_others(source, census, census->round);
	}
}

static void name(struct text *queues, const struct route *route)
{
	text_print(queues, "%s%s/%s", queues->len > 0 ? ", " : "", route->source_name, route->name);
}

void census_tell(struct census *census, unsigned round, const struct route *route, long others)
{
	if (!census->under_way || round != census->round || census->to_tell == 0)
		return;
	census->to_tell--;
	if (others < 0)
		census->not_known++;
	if (others == 0)
		name(route->retired ? &census->left : &census->alone, route);
	if (census->to_tell == 0)
		timer_start(census->timer, 0);
}

struct span census_alone(const struct census *census)
{
	return text_span(&census->alone);
}

struct span census_left(const struct census *census)
{
	return text_span(&census->left);
}

size_t census_not_known(const struct census *census)
{
	return census->not_known;
}
