/* metrics_table - every metric there is: one row each.
 *
 * Thread: any; the table is constant. The functions in it read the view on the loop's.
 * Owns:   nothing.
 * Units:  what the name ends in, as Prometheus wants it: seconds, bytes, or a count.
 * Fails:  never.
 *
 * Labels come from closed sets only: what the configuration names (source, queue, handler) and our
 * own words (fate, state). Nothing that a job brings with it is ever a label. */
#ifndef OUTFALL_OBSERVE_METRICS_TABLE_H
#define OUTFALL_OBSERVE_METRICS_TABLE_H

#include "base/histogram.h"

#include <stddef.h>

struct lane;
struct route;
struct source;
struct view;

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_KINDS };

/* How many samples there are, and which labels tell them apart. */
enum metric_scope {
	PER_WORKER,  /* one, no label */
	PER_BUILD,   /* one: version */
	PER_QUEUE,   /* source, queue */
	PER_FATE,    /* source, queue, fate */
	PER_SOURCE,  /* source */
	PER_HANDLER, /* handler */
	PER_STATE,   /* state */
	METRIC_SCOPES,
};

/* What one sample is about; what its scope does not need is empty. */
struct metric_subject {
	const struct route *route;
	const struct source *source;
	const struct lane *lane;
	int which; /* a fate, or a state */
};

struct metric_row {
	const char *name, *unit, *help;
	enum metric_kind kind;
	enum metric_scope scope;
	/* NaN: there is nothing to say now, and the sample is left out. */
	double (*value)(const struct view *view, const struct metric_subject *of);
	const struct histogram *(*histogram)(const struct route *route);
};

extern const struct metric_row metrics_table[];
extern const size_t metrics_n_rows;

const char *metric_kind_name(enum metric_kind kind);
const char *metric_scope_labels(enum metric_scope scope); /* "source, queue"; "" for none */

#endif
