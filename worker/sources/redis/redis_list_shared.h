/* redis_list_shared - what the lists of one Redis source have in common: the connection, the scripts
 * loaded through it, and how they are called.
 *
 * Thread: the loop's.
 * Owns:   nothing; the source (redis_list.c) owns the struct and changes it.
 * Units:  milliseconds, bytes.
 * Fails:  calls never; trouble on the connection is link_failed(), once. */
#ifndef OUTFALL_SOURCES_REDIS_LIST_SHARED_H
#define OUTFALL_SOURCES_REDIS_LIST_SHARED_H

#include "base/error.h"
#include "base/list.h"
#include "sources/redis/redis_script.h"
#include "wire/reconnect.h"
#include "wire/resp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct census;
struct log;
struct loop;
struct source;

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
	struct census *census;      /* who is told what was asked for with redis_queue_count() */

	/* The server keeps us from that list (settings->name) for good. False: this concerns the link. */
	bool (*refused)(struct redis_shared *shared, const char *list, const struct error *why);
	/* A list calls these last, before it returns to the loop. */
	void (*link_failed)(struct redis_shared *shared, const struct error *why);
	void (*changed)(struct redis_shared *shared);
};

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

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#endif
