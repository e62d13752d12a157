/* The real core with one fake source, one fake handler and one queue between them, on a clock that
 * tests set. What the source is asked to do it does at once. */
#ifndef OUTFALL_TESTS_SMALL_CORE_H
#define OUTFALL_TESTS_SMALL_CORE_H

#include "base/clock.h"
#include "core.h"
#include "settings/settings.h"

#include <stdio.h>
#include <string.h>

#define SMALL_S UINT64_C(1000000000)

struct small_core {
	struct core core;
	struct clock clock;
	uint64_t now_ns;
	struct drain_settings drain;
	struct retry_settings retry;
	struct source source;
	struct executor executor;
	struct lane *lane;
	struct route *route;
	uint64_t noticed_ms; /* the last drain notice */
};

static inline uint64_t small_now(const struct clock *clock)
{
	return list_entry(clock, const struct small_core, clock)->now_ns;
}

static inline void small_start(struct executor *executor, struct job *job)
{
	(void)executor;
	job->begun_ns = job->given_ns;
}

static inline void small_ignore_executor(struct executor *executor)
{
	(void)executor;
}

static inline uint64_t small_begun_ns(const struct executor *executor, const struct job *job)
{
	(void)executor;
	return job->begun_ns;
}

static inline void small_stop(struct executor *executor, struct job *job, enum stop_how how)
{
	(void)executor;
	(void)job;
	(void)how;
}

static inline void small_notice(struct executor *executor, uint64_t left_ms)
{
	list_entry(executor, struct small_core, executor)->noticed_ms = left_ms;
}

static inline void small_pause(struct source *source)
{
	source->intake = INTAKE_SHUT;
}

static inline void small_resume(struct source *source)
{
	source->intake = INTAKE_OPEN;
}

static inline void small_settle(struct source *source, struct job *job)
{
	source->host->settled(source->host, job, SETTLED);
}

static inline void small_ignore_source(struct source *source)
{
	(void)source;
}

static inline void small_close(struct source *source)
{
	source->link = LINK_CLOSED;
}

static const struct executor_ops small_executor_ops = {
    .kind = "exec",
    .start = small_start,
    .retract = small_ignore_executor,
    .begun_ns = small_begun_ns,
    .stop = small_stop,
    .drain_notice = small_notice,
};

static inline void small_count_others(struct source *source, struct census *census, unsigned round)
{
	(void)source;
	(void)census; /* it never answers */
	(void)round;
}

static const struct source_ops small_source_ops = {
    .kind = "rabbitmq",
    .pause = small_pause,
    .resume = small_resume,
    .settle = small_settle,
    .flush = small_ignore_source,
    .close = small_close,
    .count_others = small_count_others,
};

/* drain.timeout 30 s, grace 5 s, reserve 2 s; two places in the handler. */
static inline void small_core_init(struct small_core *s, uint64_t timeout_ms, const char *queue)
{
	memset(s, 0, sizeof *s);
	s->clock.now_ns = small_now;
	s->now_ns = 1000 * SMALL_S;
	s->drain = (struct drain_settings){
	    .limit = DRAIN_LIMIT_SET, .timeout_ms = 30000, .grace_ms = 5000, .reserve_ms = 2000};
	s->retry = (struct retry_settings){.attempts = 5};
	core_init(&s->core, &s->clock, NULL, 4, &s->drain, 1);
	s->source = (struct source){.ops = &small_source_ops,
				    .host = &s->core.source_host,
				    .name = "main",
				    .link = LINK_UP,
				    .intake = INTAKE_OPEN};
	s->executor = (struct executor){.ops = &small_executor_ops,
					.host = &s->core.executor_host,
					.name = "mailer",
					.width = 2,
					.widest = 2,
					.depth = 2,
					.can_kill = true};
	roster_add_source(&s->core.roster, &s->source);
	s->lane = roster_add_lane(&s->core.roster, &s->executor, timeout_ms);
	s->route = roster_add_route(&s->core.roster, queue, &s->source, s->lane, &s->retry, 0);
}

static inline struct job *small_deliver(struct small_core *s, const char *id)
{
	struct job_facts facts = {.route = s->route, .id = span_text(id), .attempt = 1};
	struct job *job = job_create(&facts), *given = job;
	s->core.source_host.deliver(&s->core.source_host, &given);
	return job;
}

static inline void small_finish(struct small_core *s, struct job *job)
{
	struct outcome outcome = {.kind = OUTCOME_DONE};
	s->core.executor_host.finished(&s->core.executor_host, job, &outcome);
}

/* A job that ran for so long and is gone. */
static inline void small_run(struct small_core *s, uint64_t ns)
{
	struct job *job = small_deliver(s, "past");
	core_begin_jobs(&s->core);
	s->now_ns += ns;
	small_finish(s, job);
}

static inline void small_core_fini(struct small_core *s)
{
	struct list *running = &s->core.ledger.lists[JOB_RUNNING];
	while (!list_empty(running))
		small_finish(s, list_entry(running->next, struct job, in_ledger));
	core_abandon_rest(&s->core);
	core_fini(&s->core);
}

#endif
