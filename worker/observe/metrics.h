/* metrics - the rows of metrics_table as Prometheus reads them (text format 0.0.4).
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Fails:  as struct text does, for lack of memory. */
#ifndef OUTFALL_OBSERVE_METRICS_H
#define OUTFALL_OBSERVE_METRICS_H

#include "base/text.h"

struct view;

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

void metrics_put(struct text *text, const struct view *view);

#endif
