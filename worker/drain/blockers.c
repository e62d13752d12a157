/* What is still in the way of the exit. drain_blockers() is the one truth; the text only names it. */
#include "dispatch/routes.h"
#include "drain/drain.h"
#include "job/ledger.h"
#include "sources/source.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>

struct blockers drain_blockers(const struct drain *drain)
{
	struct blockers b = {
	    .held = ledger_count(drain->ledger, JOB_HELD),
	    .running = ledger_count(drain->ledger, JOB_RUNNING),
	    .settling = ledger_count(drain->ledger, JOB_FINISHED) +
			ledger_count(drain->ledger, JOB_SETTLING),
	};
	list_each (it, &drain->roster->sources) {
		const struct source *source = list_entry(it, struct source, in_roster);
		b.intakes += source->intake != INTAKE_SHUT;
		b.links += source->link != LINK_CLOSED;
		b.links_up += source->link != LINK_CLOSED && source->link != LINK_CLOSING;
	}
	return b;
}

struct sentence {
	char *buf;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void say(struct sentence *s, const char *fmt, ...)
{
	if (s->len + 1 >= s->size)
		return;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(s->buf + s->len, s->size - s->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		s->len += (size_t)n < s->size - s->len ? (size_t)n : s->size - s->len - 1;
}

static const char *comma(const struct sentence *s)
{
	return s->len > 0 ? ", " : "";
}

/* The oldest few by name: who reads this wants to know which job to look at. */
static void say_running(struct sentence *s, const struct drain *drain, size_t running)
{
	enum { NAMED = 5 };
	uint64_t now_ns = clock_now_ns(drain->clock);
	int named = 0;
	say(s, "%s%zu running (", comma(s), running);
	list_each (it, &drain->ledger->lists[JOB_RUNNING]) {
		const struct job *job = list_entry(it, struct job, in_ledger);
		if (named == NAMED) {
			say(s, ", ...");
			break;
		}
		say(s, "%s\"%s\" job %s for %.1f s", named++ > 0 ? ", " : "", job->route->name,
		    job->id, (double)(now_ns - job->given_ns) / 1e9);
	}
	say(s, ")");
}

void drain_blockers_text(const struct drain *drain, char *buf, size_t size)
{
	struct sentence s = {.buf = buf, .size = size};
	struct blockers b = drain_blockers(drain);
	if (size > 0)
		buf[0] = '\0';
	if (b.running > 0)
		say_running(&s, drain, b.running);
	if (b.held > 0)
		say(&s, "%s%zu held to give back", comma(&s), b.held);
	if (b.settling > 0)
		say(&s, "%s%zu to settle", comma(&s), b.settling);
	list_each (it, &drain->roster->sources) {
		const struct source *source = list_entry(it, struct source, in_roster);
		char what[256] = "";
		if (source->ops->waiting_for != NULL)
			(void)source->ops->waiting_for(source, what, sizeof what);
		if (what[0] != '\0')
			say(&s, "%s%s \"%s\": %s", comma(&s), source->ops->kind, source->name,
			    what);
	}
	if (s.len == 0)
		say(&s, "nothing");
}
