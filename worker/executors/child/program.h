/* program - where the program of a command is.
 *
 * Thread: the loop's.
 * Owns:   nothing; the path is the caller's.
 * Fails:  program_find() with ST_SYSTEM when it is in no folder of PATH; one that is named by its path is
 *         not looked at, the exec will. */
#ifndef OUTFALL_EXECUTORS_PROGRAM_H
#define OUTFALL_EXECUTORS_PROGRAM_H

#include "base/error.h"

/* *ret_path is freed with memory_free(). */
enum status program_find(const char *name, char **ret_path, struct error *why);

#endif
