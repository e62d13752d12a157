/* redis_list_pace - how many jobs to claim from a list, and when. Pure arithmetic.
 *
 * Claim one at a time and short jobs spend their time in round trips; claim hundreds and slow jobs
 * lie here while other workers have nothing to do. So the number claimed ahead of what can begin at
 * once follows from what happens to the jobs.
 *
 * Thread: any; the struct belongs to its caller. pace_facts_of() counts in the core's lists: the loop's.
 * Units:  monotonic nanoseconds, counts of jobs.
 * Fails:  never. */
#ifndef OUTFALL_SOURCES_REDIS_LIST_PACE_H
#define OUTFALL_SOURCES_REDIS_LIST_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pace {
	unsigned ahead;      /* jobs to hold beyond those that can begin at once */
	bool fixed;          /* ... is what the operator said */
	bool full;           /* the last claim got all it had asked for */
	uint64_t claimed_ns; /* when it came */
	bool ended;          /* a job has, since then: what is idle was not so all along */
	uint64_t lowered_ns;
};

struct route;

#define LINGER_NS UINT64_C(100000000) /* a job that is held for longer was claimed too early */

struct pace_facts {
	bool only_idle; /* nothing is to be claimed ahead */
	uint64_t now_ns;
	size_t unbegun;           /* taken, and no handler has begun them */
	uint64_t oldest_taken_ns; /* of the first that waits for a handler; 0: none */
	unsigned idle;            /* places where a job could begin at once; its share of them */
	bool shared;              /* there are none, and other queues have some of them */
	size_t soon;              /* its rates let no more begin within LINGER_NS */
	size_t room;              /* never claim more */
};

struct pace_facts pace_facts_of(const struct route *route, uint64_t now_ns); /* but for `room` */

void pace_init(struct pace *pace, unsigned prefetch); /* 0: by itself */
size_t pace_wanted(struct pace *pace, const struct pace_facts *facts);
void pace_claimed(struct pace *pace, uint64_t now_ns, bool full);
void pace_job_ended(struct pace *pace);

#endif
