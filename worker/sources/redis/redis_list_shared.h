/* redis_list_shared - what the lists of one Redis source have in common: the connection, the scripts
 * loaded through it, and how they are called.
 *
 * Thread: the loop's.
 * Owns:   nothing; the source (redis_list.c) owns the struct and changes it.
 * Units:  milliseconds, bytes.
 * Fails:  calls never; trouble on the connection is link_failed(), once. */
#ifndef OUTFALL_SOURCES_REDIS_LIST_SHARED_H
#define OUTFALL_SOURCES_REDIS_LIST_SHARED_H

#include "base/backoff.h"
#include "base/error.h"
#include "base/list.h"
#include "sources/redis/redis_script.h"
#include "wire/resp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct census;
struct log;
struct loop;
struct source;
struct timer;

enum { LIST_SCRIPTS = SCRIPT_CENSUS + 1 }; /* those that a list calls */

struct redis_shared {
	struct loop *loop;
	struct log *log;
	struct source *source;
	const struct resp_login *login;
	const char *worker;     /* without the part that tells incarnations apart */
	bool is_cluster;        /* by its address: a slot that is elsewhere is followed */
	size_t max_body_bytes;  /* of one job */
	size_t claim_bytes;     /* of one claim, but at least one job */
	unsigned wait_replicas; /* 0: a call's own reply is all that is waited for */
	uint64_t wait_timeout_ms;
	struct resp *redis; /* NULL while the link is not up */
	struct script_digest scripts[LIST_SCRIPTS];
	struct reconnect reconnect; /* a claim that was answered means that all is well */
	struct list work;           /* queues to be attended at the end of the turn */
	struct timer *lease_timer;
	uint64_t lease_check_ns; /* no lease runs out before, by our clock; UINT64_MAX: none */
	struct census *census;   /* who is told what was asked for with redis_queue_count() */

	/* The server keeps us from that list (settings->name) for good. False: this concerns the link. */
	bool (*refused)(struct redis_shared *shared, const char *list, const struct error *why);
	/* A list calls these last, before it returns to the loop. */
	void (*link_failed)(struct redis_shared *shared, const struct error *why);
	void (*changed)(struct redis_shared *shared);
};

/* A lease of ours may run out then. */
void redis_shared_check_leases_at(struct redis_shared *shared, uint64_t at_ns);

/* Begins a call while the link is up; `n_args` arguments are to follow. */
void redis_shared_call(struct redis_shared *shared, enum redis_script script,
		       const char *const *keys, size_t n_keys, size_t n_args,
		       resp_answered *answered, void *arg);
/* Whether the reply is what scripts answer: numbers first, and `n_items` items at least unless the first
 * is 0, which says that we are not a member. If not, the link has failed when this returns, or the list is
 * set aside. */
bool redis_shared_is_answer(struct redis_shared *shared, const char *list,
			    const struct reply *reply, size_t n_items);
int64_t redis_reply_number(const struct reply *reply, size_t i); /* item i; 0: it is none */
/* Scripts that ask for a lease tell beside it which job id the server has given out last; 0: none. */
uint64_t redis_reply_last_id(const struct reply *reply);

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#endif
