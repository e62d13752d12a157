/* reload - reads the configuration again and takes over what a worker that runs can.
 *
 * All or nothing: a configuration with an error changes nothing. What takes a new worker is named, each time,
 * and left as it is.
 *
 * Files are read, and users looked up, on a thread: an NFS server, a pipe or a name service that does not answer
 * holds nobody but that thread. There is one at a time. Whoever asks meanwhile gets one more, which begins
 * when the first has ended, for the file may have changed behind it.
 *
 *     idle --asked--> reading --asked--> reading, and again --read--> reading
 *                        \--read--> idle
 *
 * Thread: the loop's, and its own.
 * Owns:   what it has read, until reload_fini(); `settings` borrows texts of it.
 * Fails:  with a sentence that names the first problem; all of them are in the log. */
#ifndef OUTFALL_COMMANDS_RELOAD_H
#define OUTFALL_COMMANDS_RELOAD_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

struct block;
struct log;
struct loop;
struct reading;
struct settings;

/* Who takes in queues that came, and lets go of those that went (settings/added_queue.h). */
struct reload_queues {
	/* Makes it part of `settings`. ST_* with the reason why it takes a new worker. */
	enum status (*take)(void *arg, const struct block *block, struct error *why);
	void (*drop)(void *arg, struct block *block);
	void *arg;
};

struct reload_calls {
	/* Before what was read is taken over: false and a sentence if it is too late for that. */
	bool (*may)(void *arg, struct error *why);
	/* One is over, well or not: reload_answer() has its answer. The loop is in no hurry again where `idle`. */
	void (*ended)(void *arg, enum status st, const struct error *why, bool idle);
	void *arg;
};

enum reload_state { RELOAD_IDLE, RELOAD_READING, RELOAD_READING_AND_AGAIN };

struct reload {
	const char *path;
	struct settings *settings; /* what the worker runs by; changed in place */
	struct settings *latest;   /* what was read last; NULL: nothing yet */
	struct log *log;
	struct loop *loop;
	struct reload_queues queues;
	struct reload_calls calls;

	enum reload_state state;
	struct reading *reading; /* NULL while idle */
	uint64_t begun, over;    /* how many have; the first is 1 */
	enum status status;      /* of the last that is over */
	struct text says;
	struct error why;
};

/* Returns the number of the reload that will have read what is there now. It begins with this call, or when
 * the one that is under way has ended. */
uint64_t reload_ask(struct reload *reload);

/* False: it is not over. Else the answer of the last that is, {"status":"reloaded","changed":[...],
 * "needs_restart":[...]} appended to `says`, or its failure. */
bool reload_answer(const struct reload *reload, uint64_t number, struct text *says,
		   enum status *ret_status, struct error *why);

/* Something is being read, perhaps for ever; then nothing that a library keeps may be taken down. */
bool reload_is_reading(const struct reload *reload);

void reload_fini(struct reload *reload);

#endif
