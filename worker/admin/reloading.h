/* reloading - what the admin server needs of somebody who reads the configuration again: POST /reload. It takes a
 * while, so it is asked for first and looked at later.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Fails:  as each call says. */
#ifndef OUTFALL_ADMIN_RELOADING_H
#define OUTFALL_ADMIN_RELOADING_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

struct reloading {
	/* The number of the reload that will have read what is there now; 0 and a sentence: there is none. */
	uint64_t (*ask)(void *arg, struct error *why);
	/* False: it is not over. Else its answer appended to `says`, or *ret_status and a sentence. */
	bool (*answer)(void *arg, uint64_t number, struct text *says, enum status *ret_status,
		       struct error *why);
	void *arg;
};

#endif
