/* One walk over the table; for each row one walk over what its scope has. The text is made anew for
 * each scrape, so a worker that nobody scrapes pays nothing but its counters. */
#include "observe/metrics.h"

#include "core.h"
#include "observe/metrics_table.h"
#include "observe/view.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* --- labels --- */

/* `{` before the first, `,` before the others; the caller closes. */
static void put_label(struct text *text, bool first, const char *name, const char *value)
{
	text_print(text, "%c%s=\"", first ? '{' : ',', name);
	if (!text_is_utf8(span_text(value)))
		value = "?"; /* a name that Prometheus would refuse the whole page for */
	for (const char *c = value; *c != '\0'; c++) {
		if (*c == '\\' || *c == '"')
			text_put(text, span_of((char[]){'\\', *c}, 2));
		else if (*c == '\n')
			text_put_literal(text, "\\n");
		else
			text_put(text, span_of(c, 1));
	}
	text_put_literal(text, "\"");
}

static bool put_labels(struct text *text, enum metric_scope scope, const struct metric_subject *of)
{
	switch (scope) {
	case PER_QUEUE:
	case PER_FATE:
		put_label(text, true, "source", of->route->source_name);
		put_label(text, false, "queue", of->route->name);
		if (scope == PER_FATE)
			put_label(text, false, "fate", fate_name((enum fate)of->which));
		return true;
	case PER_SOURCE:
		put_label(text, true, "source", of->source->name);
		return true;
	case PER_HANDLER:
		put_label(text, true, "handler", of->lane->executor->name);
		return true;
	case PER_STATE:
		put_label(text, true, "state", phase_name((enum phase)of->which));
		return true;
	case PER_BUILD:
		put_label(text, true, "version", OUTFALL_VERSION);
		return true;
	case PER_WORKER:
	case METRIC_SCOPES:
		break;
	}
	return false;
}

/* --- samples --- */

static void put_value(struct text *text, double value)
{
	if (value > -1e15 && value < 1e15 && value == (double)(int64_t)value)
		text_print(text, " %" PRId64 "\n", (int64_t)value);
	else
		text_print(text, " %.9g\n", value);
}

static void put_part(struct text *text, const struct metric_row *row,
		     const struct metric_subject *of, const char *ending, const char *bound)
{
	text_print(text, "%s%s", row->name, ending);
	bool labelled = put_labels(text, row->scope, of);
	if (bound != NULL)
		put_label(text, !labelled, "le", bound);
	if (labelled || bound != NULL)
		text_put_literal(text, "}");
}

/* Prometheus wants each bucket to hold those before it. */
static void put_histogram(struct text *text, const struct metric_row *row,
			  const struct metric_subject *of)
{
	const struct histogram *histogram = row->histogram(of->route);
	uint64_t within = 0;
	for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
		char bound[24] = "+Inf";
		if (i < HISTOGRAM_BOUNDS)
			(void)snprintf(bound, sizeof bound, "%g",
				       (double)histogram_bounds_ns[i] / 1e9);
		within += histogram->counts[i];
		put_part(text, row, of, "_bucket", bound);
		text_print(text, " %" PRIu64 "\n", within);
	}
	put_part(text, row, of, "_sum", NULL);
	put_value(text, (double)histogram->sum_ns / 1e9);
	put_part(text, row, of, "_count", NULL);
	text_print(text, " %" PRIu64 "\n", within);
}

static void put_sample(struct text *text, const struct metric_row *row, const struct view *view,
		       const struct metric_subject *of)
{
	if (row->kind == METRIC_HISTOGRAM) {
		put_histogram(text, row, of);
		return;
	}
	double value = row->value(view, of);
	if (isnan(value))
		return;
	put_part(text, row, of, "", NULL);
	put_value(text, value);
}

/* --- scopes --- */

static void put_routes(struct text *text, const struct metric_row *row, const struct view *view)
{
	int whichs = row->scope == PER_FATE ? FATE_COUNT : 1;
	list_each (it, &view->core->roster.routes) {
		struct metric_subject of = {.route = list_entry(it, struct route, in_roster)};
		if (of.route->heir != NULL)
			continue; /* no two samples may have the same labels */
		for (of.which = 0; of.which < whichs; of.which++)
			put_sample(text, row, view, &of);
	}
}

static void put_sources(struct text *text, const struct metric_row *row, const struct view *view)
{
	list_each (it, &view->core->roster.sources) {
		struct metric_subject of = {.source = list_entry(it, struct source, in_roster)};
		put_sample(text, row, view, &of);
	}
}

static void put_lanes(struct text *text, const struct metric_row *row, const struct view *view)
{
	list_each (it, &view->core->roster.lanes) {
		struct metric_subject of = {.lane = list_entry(it, struct lane, in_roster)};
		put_sample(text, row, view, &of);
	}
}

static void put_row(struct text *text, const struct metric_row *row, const struct view *view)
{
	struct metric_subject of = {0};
	text_print(text, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
		   metric_kind_name(row->kind));
	switch (row->scope) {
	case PER_QUEUE:
	case PER_FATE:
		put_routes(text, row, view);
		break;
	case PER_SOURCE:
		put_sources(text, row, view);
		break;
	case PER_HANDLER:
		put_lanes(text, row, view);
		break;
	case PER_STATE:
		for (of.which = 0; of.which < PHASES; of.which++)
			put_sample(text, row, view, &of);
		break;
	case PER_WORKER:
	case PER_BUILD:
	case METRIC_SCOPES:
		put_sample(text, row, view, &of);
		break;
	}
}

void metrics_put(struct text *text, const struct view *view)
{
	for (size_t i = 0; i < metrics_n_rows; i++)
		put_row(text, &metrics_table[i], view);
}
