/* problems - everything that is wrong with a configuration, each with its place.
 *
 * Thread: the caller's.
 * Owns:   the list and the names of the files in it, until problems_free() (settings.h).
 * Fails:  never; see region.h. Past PROBLEMS_MOST nothing is added: nobody reads further. */
#ifndef OUTFALL_SETTINGS_PROBLEMS_H
#define OUTFALL_SETTINGS_PROBLEMS_H

#include "settings/settings.h"

enum { PROBLEMS_MOST = 200 };

void problems_error(struct problems *problems, struct place place, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void problems_warn(struct problems *problems, struct place place, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* By file, then by line; what was found first stays first within a line. The file that was named
 * on the command line comes first. */
void problems_sort(struct problems *problems, const char *first_file);

#endif
