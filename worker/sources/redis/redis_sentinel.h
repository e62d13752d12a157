/* redis_sentinel - where the master is: a set of Sentinels is asked, and asked again.
 *
 * Thread: the loop's.
 * Owns:   one conversation, with the Sentinel that answered last; it is kept for the next question.
 *         `hosts` is borrowed, and its address may be another at each question.
 * Units:  milliseconds.
 * Fails:  creation with NULL. A question ends in `found` or `failed`, never within redis_sentinel_ask();
 *         `failed` says what the last of them said. */
#ifndef OUTFALL_SOURCES_REDIS_SENTINEL_H
#define OUTFALL_SOURCES_REDIS_SENTINEL_H

#include "base/error.h"
#include "wire/url.h"

#include <stdint.h>

struct hosts;
struct loop;
struct redis_sentinel;

struct redis_sentinel_events {
	void (*found)(void *arg, const struct url_node *master); /* borrowed for the call */
	void (*failed)(void *arg, const struct error *why);      /* none of them could tell */
};

/* Each Sentinel has `patience_ms` to answer, connecting and logging in included. */
struct redis_sentinel *redis_sentinel_create(struct loop *loop, const struct hosts *hosts,
					     uint64_t patience_ms,
					     const struct redis_sentinel_events *events, void *arg);
void redis_sentinel_destroy(struct redis_sentinel *sentinel); /* no more events; NULL is fine */

/* hosts_next() has been called, and hosts_ask_sentinels() said yes. Nothing new while a question is
 * under way: its answer will do. */
void redis_sentinel_ask(struct redis_sentinel *sentinel);

#endif
