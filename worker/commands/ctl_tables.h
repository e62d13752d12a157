/* ctl_tables - a worker's status as tables for people.
 *
 * Thread: main's.
 * Owns:   nothing.
 * Fails:  never: what is not there is shown as "-". */
#ifndef OUTFALL_COMMANDS_CTL_TABLES_H
#define OUTFALL_COMMANDS_CTL_TABLES_H

#include <jansson.h>
#include <stdio.h>

/* `before`: the status a second ago, for rates; or NULL. */
void ctl_print_status(json_t *status, json_t *before, FILE *out);
void ctl_print_jobs(json_t *status, FILE *out);

/* How long a drain would take now, and which jobs would not make it. Returns how many. */
size_t ctl_print_dry_run(json_t *status, FILE *out);

/* How it ended: from the last answer of a drain. */
void ctl_print_goodbye(json_t *status, FILE *out);

#endif
