/* systemd - tells the service manager how we are, where there is one that listens ($NOTIFY_SOCKET).
 *
 *     READY=1                 once everything is consuming, as /readyz says
 *     STATUS=                 a sentence, when it changes
 *     RELOADING=1, READY=1    around a reload
 *     STOPPING=1              when a drain begins, whoever asked for it
 *     EXTEND_TIMEOUT_USEC=    each second of a drain, as long as its own deadline has not come
 *     WATCHDOG=1              twice in each $WATCHDOG_USEC, as long as the worker is alive, as /livez says
 *
 * Thread: the loop's.
 * Owns:   the socket, its timers.
 * Units:  nanoseconds, but the protocol's microseconds.
 * Fails:  systemd_create() with ST_NOMEM. An address that is none is logged and ignored, and what
 *         cannot be said now is said a moment later. */
#ifndef OUTFALL_MANAGERS_SYSTEMD_H
#define OUTFALL_MANAGERS_SYSTEMD_H

#include "base/error.h"

struct core;
struct log;
struct loop;
struct systemd;

/* *ret_systemd is NULL where nobody listens. Takes what it reads out of the environment, so that no
 * handler's child speaks in our name: call it before there are threads or handlers. Its turn comes
 * behind hooks that were added before. */
enum status systemd_create(struct loop *loop, struct log *log, const struct core *core,
			   struct systemd **ret_systemd, struct error *why);
void systemd_destroy(struct systemd *systemd); /* NULL is fine, here and below */

/* The configuration is read between these two. */
void systemd_reloading(const struct systemd *systemd);
void systemd_reloaded(struct systemd *systemd); /* with or without success */

/* The last sentence: the drain is closed, and this is how the process will end. */
void systemd_part(struct systemd *systemd, int exit_code);

#endif
