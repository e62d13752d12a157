/* A job is an entry that lies in its box's `waiting`, or in `out` while the core has it. What is told of it is true at
 * once, so settle() ends in settled() before it returns. */
#include "memory.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "settings/rows.h"
#include "settings/settings.h"
#include "sources/kind.h"
#include "sources/source.h"
#include "wire/url.h"

#include <stdio.h>
#include <string.h>

struct box_settings {
	SOURCE_QUEUE_SETTINGS_AS(source);
	const char **jobs;
};

struct memory_settings {
	SOURCE_SETTINGS_AS(source);
};

struct entry {
	struct list in_box;
	uint64_t number; /* its place: the head has the lowest */
	uint32_t attempt, interruptions, crashes;
	const char *body;
};

struct box {
	struct list in_memory;
	struct memory *of;
	struct route *route;
	struct list waiting, out; /* struct entry.in_box */
	uint64_t last_number;
	size_t dead;
	bool retired;
};

struct memory {
	struct source base;
	struct loop *loop;
	struct log *log;
	struct list boxes; /* struct box.in_memory */
	struct timer *look;
	bool started;
};

static struct memory *of(struct source *source)
{
	return list_entry(source, struct memory, base);
}

static struct entry *entry_of(struct list *node)
{
	return list_entry(node, struct entry, in_box);
}

/* --- taking --- */

static bool deliver(struct box *box, struct entry *entry)
{
	struct source_host *host = box->of->base.host;
	char id[24];
	int len = snprintf(id, sizeof id, "%llu", (unsigned long long)entry->number);
	struct job_facts facts = {.route = box->route,
				  .serial = host->next_serial(host),
				  .attempt = entry->attempt,
				  .interruptions = entry->interruptions,
				  .crashes = entry->crashes,
				  .id = span_of(id, (size_t)len),
				  .body_bytes = strlen(entry->body)};
	struct job *job = job_create(&facts);
	if (job == NULL)
		return false;
	memcpy(job_body(job), entry->body, facts.body_bytes);
	job->source_tag = entry->number;
	list_append(&box->out, &entry->in_box);
	host->deliver(host, &job);
	return true;
}

static void fill(struct box *box)
{
	struct source_host *host = box->of->base.host;
	while (!box->retired && box->of->base.intake == INTAKE_OPEN && !list_empty(&box->waiting) &&
	       host->room(host, box->route) > 0)
		if (!deliver(box, entry_of(list_take_first(&box->waiting))))
			return;
}

static void look(void *arg)
{
	struct memory *m = arg;
	list_each (it, &m->boxes)
		fill(list_entry(it, struct box, in_memory));
}

static void room_came(struct source *source, struct route *route)
{
	(void)route;
	timer_start(of(source)->look, 0);
}

/* --- telling --- */

static struct entry *take_out(struct box *box, uint64_t number)
{
	list_each (it, &box->out) {
		if (entry_of(it)->number != number)
			continue;
		list_remove(it);
		return entry_of(it);
	}
	must(false && "a job of this box");
	return NULL;
}

static void put_in_place(struct box *box, struct entry *entry)
{
	list_each (it, &box->waiting) {
		if (entry_of(it)->number < entry->number)
			continue;
		list_insert_before(it, &entry->in_box);
		return;
	}
	list_append(&box->waiting, &entry->in_box);
}

static void settle(struct source *source, struct job *job)
{
	struct box *box = job->route->source_ref;
	struct entry *entry = take_out(box, job->source_tag);
	enum fate fate = job->verdict.fate;
	entry->attempt = job->verdict.attempt;
	entry->interruptions = job->verdict.interruptions;
	entry->crashes = job->verdict.crashes;
	if (fate == FATE_RETRIED)
		entry->number = ++box->last_number;
	if (fate == FATE_RETRIED || fate == FATE_RETURNED)
		put_in_place(box, entry);
	else
		memory_free(entry);
	box->dead += fate == FATE_DEAD;
	timer_start(of(source)->look, 0);
	source->host->settled(source->host, job, SETTLED);
}

/* --- the contract --- */

static void be(struct memory *m, enum link_state link, enum intake intake)
{
	m->base.link = link;
	m->base.intake = intake;
	m->base.host->changed(m->base.host, &m->base);
	timer_start(m->look, 0);
}

static void start(struct source *source)
{
	of(source)->started = true;
	be(of(source), LINK_UP, INTAKE_OPEN);
}

static void pause_intake(struct source *source)
{
	be(of(source), source->link, INTAKE_SHUT);
}

static void resume(struct source *source)
{
	be(of(source), source->link, INTAKE_OPEN);
}

static void flush(struct source *source)
{
	(void)source; /* nothing is collected */
}

static void close_in_order(struct source *source)
{
	be(of(source), LINK_CLOSED, INTAKE_SHUT);
}

static void retire(struct source *source, struct route *route)
{
	struct box *box = route->source_ref;
	(void)source;
	box->retired = true;
}

static void free_box(struct box *box)
{
	size_t waiting = 0;
	struct list *it;
	for (; (it = list_take_first(&box->waiting)) != NULL; waiting++)
		memory_free(entry_of(it));
	while ((it = list_take_first(&box->out)) != NULL)
		memory_free(entry_of(it));
	log_say(box->of->log, LOG_INFO, "box left", kv_text("source", box->of->base.name),
		kv_int("waiting", (int64_t)waiting), kv_int("dead", (int64_t)box->dead));
	list_remove(&box->in_memory);
	memory_free(box);
}

static enum leaving leave(struct source *source, struct route *route)
{
	(void)source;
	if (route->in_ledger > 0)
		return LEAVING_JOBS;
	free_box(route->source_ref);
	return LEAVING_GONE;
}

static void destroy(struct source *source)
{
	struct memory *m = of(source);
	while (!list_empty(&m->boxes))
		free_box(list_entry(m->boxes.next, struct box, in_memory));
	timer_destroy(m->look);
	memory_free(m);
}

static size_t waiting_for(const struct source *source, char *buf, size_t size)
{
	(void)source;
	if (size > 0)
		buf[0] = '\0';
	return 0;
}

static const struct source_ops ops = {
    .kind = "memory",
    .start = start,
    .pause = pause_intake,
    .resume = resume,
    .settle = settle,
    .flush = flush,
    .room_came = room_came,
    .retire = retire,
    .leave = leave,
    .close = close_in_order,
    .destroy = destroy,
    .waiting_for = waiting_for,
};

/* --- the kind --- */

static const struct key_row source_keys[] = {
    {"url", VALUE_TEXT, NO_FIELD, .help = "unix:///anything."},
};

static const struct key_row box_keys[] = {
    {"jobs", VALUE_LIST, FIELD(box_settings, jobs), .help = "Their bodies."},
};

static const char *wrong_url(const struct url *url)
{
	return url->scheme == URL_UNIX ? NULL : "a memory section needs a unix:// address";
}

static enum status create(const struct source_parts *parts, const struct source_settings *settings,
			  struct source **ret_source, struct error *why)
{
	struct memory *m = memory_clear(1, sizeof *m);
	if (m == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	m->base = (struct source){.ops = &ops,
				  .host = parts->host,
				  .name = settings->name,
				  .link = LINK_DOWN,
				  .intake = INTAKE_SHUT};
	list_init(&m->base.in_roster);
	list_init(&m->boxes);
	m->loop = parts->loop;
	m->log = parts->log;
	m->look = timer_create_on(parts->loop, look, m);
	if (m->look == NULL) {
		destroy(&m->base);
		return error_set(why, ST_NOMEM, "out of memory");
	}
	*ret_source = &m->base;
	return ST_OK;
}

static bool put_in(struct box *box, const char *body)
{
	struct entry *entry = memory_clear(1, sizeof *entry);
	if (entry == NULL)
		return false;
	*entry = (struct entry){.number = ++box->last_number, .attempt = 1, .body = body};
	list_init(&entry->in_box);
	list_append(&box->waiting, &entry->in_box);
	return true;
}

static enum status add(struct source *source, const struct source_queue_settings *queue,
		       struct route *route, struct error *why)
{
	const struct box_settings *settings = list_entry(queue, const struct box_settings, source);
	struct box *box = memory_clear(1, sizeof *box);
	if (box == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	box->of = of(source);
	box->route = route;
	list_init(&box->in_memory);
	list_init(&box->waiting);
	list_init(&box->out);
	list_append(&box->of->boxes, &box->in_memory);
	route->source_ref = box;
	for (const char **body = settings->jobs; body != NULL && *body != NULL; body++)
		if (!put_in(box, *body)) {
			free_box(box);
			return error_set(why, ST_NOMEM, "out of memory");
		}
	if (box->of->started)
		timer_start(box->of->look, 0);
	return ST_OK;
}

const struct source_kind memory_kind = {
    .schema =
	{
		 .section = {.name = "memory",
			TITLED(memory_settings),
			.schema = &memory_kind.schema,
			.keys = {KEY_ROWS(source_keys), TABLE_SOURCE_KEYS},
			.help = "Boxes in the worker's own memory."},
		 .queue = {.name = "box",
		      TITLED(box_settings),
		      .schema = &memory_kind.schema,
		      .inside = &memory_kind.schema.section,
		      .keys = {KEY_ROWS(box_keys), TABLE_QUEUE_KEYS},
		      .help = "A box of jobs."},
		 .tls_scheme = "unix://",
		 .wrong_url = wrong_url,
		 },
    .create = create,
    .add = add,
    .cannot = KIND_NO_HEADERS,
};
