/* A table of paths; each row says which method it wants and what it does. Answers that people read
 * with curl are small JSON objects with a newline; what went wrong is {"error": "a sentence"}. */
#include "admin/pages.h"

#include "admin/handshake.h"
#include "base/duration.h"
#include "base/log.h"
#include "core.h"
#include "observe/health.h"
#include "observe/metrics.h"
#include "observe/view.h"
#include "sources/census.h"

#include "favicon.svg.h"
#include "index.html.h"
#include "page.css.h"
#include "page.js.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define JSON "application/json"

struct question { /* what every page needs */
	const struct pages *pages;
	const struct gate *gate;
	const struct request *request;
	struct view view;
};

static void say(struct answer *answer, unsigned status, const char *key, const char *sentence)
{
	answer->status = status;
	answer->type = JSON;
	text_print(&answer->made, "{\"%s\":", key);
	text_put_json(&answer->made, span_text(sentence));
	text_put_literal(&answer->made, "}\n");
}

static void say_error(struct answer *answer, unsigned status, const char *sentence)
{
	say(answer, status, "error", sentence);
}

static void say_why(struct answer *answer, const char *word, const struct text *why)
{
	answer->status = 503;
	answer->type = JSON;
	text_print(&answer->made, "{\"status\":\"%s\",\"why\":", word);
	text_put_json(&answer->made, text_span(why));
	text_put_literal(&answer->made, "}\n");
}

static bool is_draining(const struct question *q)
{
	return phase_is_stopping(q->pages->core->drain.phase);
}

/* "?force", "?force=1", "?force=true": yes; "?force=0", "?force=false": no. False: neither. */
static bool read_switch(const char *value, bool *ret_on)
{
	static const char *const words[] = {"",  "1",     "true", "yes", "on",
					    "0", "false", "no",   "off"};
	enum { FIRST_NO = 5, WORDS = sizeof words / sizeof *words };
	size_t i = 0;
	*ret_on = false;
	if (value == NULL)
		return true;
	while (i < WORDS && strcasecmp(value, words[i]) != 0)
		i++;
	*ret_on = i < FIRST_NO;
	return i < WORDS;
}

/* --- reading --- */

static void livez(const struct question *q, struct answer *answer)
{
	struct text why = {0};
	if (health_is_alive(&q->view, &why))
		say(answer, 200, "status", "alive");
	else
		say_why(answer, "stuck", &why);
	text_fini(&why);
}

static void readyz(const struct question *q, struct answer *answer)
{
	struct text why = {0};
	if (health_is_ready(&q->view, &why))
		say(answer, 200, "status", "ready");
	else
		say_why(answer, is_draining(q) ? "draining" : "not ready", &why);
	text_fini(&why);
}

static void health(const struct question *q, struct answer *answer)
{
	if (is_draining(q))
		say(answer, 503, "status", "draining");
	else
		say(answer, 200, "status", "healthy");
}

static void metrics(const struct question *q, struct answer *answer)
{
	answer->status = 200;
	answer->type = METRICS_CONTENT_TYPE;
	metrics_put(&answer->made, &q->view);
}

static void status(const struct question *q, struct answer *answer)
{
	answer->status = 200;
	answer->type = JSON;
	(void)status_put(&answer->made, &q->view, pages_control(q->gate));
	text_put_literal(&answer->made, "\n");
}

static void events(const struct question *q, struct answer *answer)
{
	const struct request *r = q->request;
	if (core_is_closed(q->pages->core))
		say_error(answer, 503, "the worker has drained: nothing will happen any more");
	else if (r->upgrade == NULL || strcasecmp(r->upgrade, "websocket") != 0 ||
		 r->websocket_key == NULL || r->websocket_version == NULL ||
		 strcmp(r->websocket_version, "13") != 0)
		say_error(answer, 426,
			  "this is a WebSocket feed (version 13); /status is the same, once");
	else if (!handshake_accept(r->websocket_key, answer->websocket_accept))
		say_error(answer, 400, "Sec-WebSocket-Key is no key");
	else
		answer->how = ANSWER_FEED;
}

/* --- the live page's own files --- */

static void file(struct answer *answer, const char *type, const char *bytes, size_t len)
{
	answer->status = 200;
	answer->type = type;
	answer->is_page = true;
	answer->fixed = span_of(bytes, len);
}

#define FILE_OF(array) array, sizeof array - 1 /* CMake ends each with a NUL */

static void index_html(const struct question *q, struct answer *answer)
{
	(void)q;
	file(answer, "text/html; charset=utf-8", FILE_OF(index_html_bytes));
}

static void page_css(const struct question *q, struct answer *answer)
{
	(void)q;
	file(answer, "text/css; charset=utf-8", FILE_OF(page_css_bytes));
}

static void page_js(const struct question *q, struct answer *answer)
{
	(void)q;
	file(answer, "text/javascript; charset=utf-8", FILE_OF(page_js_bytes));
}

static void favicon_svg(const struct question *q, struct answer *answer)
{
	(void)q;
	file(answer, "image/svg+xml", FILE_OF(favicon_svg_bytes));
}

/* --- steering --- */

static void put_alone(char *sentence, size_t size, struct span queues, const char *and)
{
	enum { QUEUES_MOST_BYTES = 400 };
	bool all = queues.len <= QUEUES_MOST_BYTES;
	(void)snprintf(sentence, size, "nobody else takes from %.*s%s%s",
		       all ? (int)queues.len : QUEUES_MOST_BYTES, queues.ptr, all ? "" : "...",
		       and);
}

/* Nobody else takes from these queues: whether it is done all the same. */
static bool leave_alone(const struct question *q, const char *what, struct span queues,
			struct answer *answer)
{
	const struct pages *pages = q->pages;
	char sentence[600];
	bool refused = pages->last_consumer == LAST_CONSUMER_REFUSE;
	log_say(pages->log, LOG_WARN,
		refused ? "refused, nobody else would be left" : "nobody else is left",
		kv_text("to", what), kv_span("queues", queues));
	if (!refused)
		return true;
	put_alone(sentence, sizeof sentence, queues,
		  "; to do it all the same: ctl --force, or ?force");
	say_error(answer, 409, sentence);
	return false;
}

/* False: it has its answer, or waits until those who would be left have been counted. A worker that is quiet
 * already takes nothing away. */
static bool may_leave(const struct question *q, const char *what, struct answer *answer)
{
	const struct pages *pages = q->pages;
	bool force;
	if (!read_switch(q->request->force, &force)) {
		say_error(answer, 400, "force is yes or no: ?force, ?force=true, ?force=false");
		return false;
	}
	if (pages->census == NULL || force || pages->core->drain.phase != PHASE_OPEN)
		return true;
	if (!q->request->counted) {
		census_begin(pages->census);
		answer->how = ANSWER_WHEN_COUNTED;
		return false;
	}
	size_t not_known = census_not_known(pages->census);
	struct span alone = census_alone(pages->census);
	if (not_known > 0)
		log_say(pages->log, LOG_WARN, "who else takes from some queues is not known",
			kv_text("to", what), kv_int("queues", (int64_t)not_known));
	return alone.len == 0 || leave_alone(q, what, alone, answer);
}

/* It is done; who does not wait for the end also hears that nobody else is left. */
static void say_done(const struct question *q, unsigned status, const char *word,
		     struct answer *answer)
{
	char sentence[600];
	answer->status = status;
	answer->type = JSON;
	text_print(&answer->made, "{\"status\":\"%s\"", word);
	if (q->request->counted && census_alone(q->pages->census).len > 0) {
		put_alone(sentence, sizeof sentence, census_alone(q->pages->census), "");
		text_put_literal(&answer->made, ",\"warning\":");
		text_put_json(&answer->made, span_text(sentence));
	}
	text_put_literal(&answer->made, "}\n");
}

static void steer(const struct question *q, enum drain_event event, const char *why,
		  struct answer *answer)
{
	struct core *core = q->pages->core;
	if (is_draining(q)) {
		say_error(answer, 409, "a drain is under way: it cannot be taken back");
		return;
	}
	core_event(core, event, why);
	say_done(q, 200, phase_name(core->drain.phase), answer);
}

static void quiet(const struct question *q, struct answer *answer)
{
	if (may_leave(q, "quiet", answer))
		steer(q, EVENT_QUIET, "POST /quiet", answer);
}

static void resume(const struct question *q, struct answer *answer)
{
	steer(q, EVENT_RESUME, "POST /resume", answer);
}

/* "?wait" and "?wait=none" last as long as it takes; yes and no are understood, too. */
static bool read_wait(const char *wait, bool *ret_waits, uint64_t *ret_ms)
{
	if (read_switch(wait, ret_waits))
		return true;
	*ret_waits = true;
	return strcmp(wait, "none") == 0 || duration_parse(wait, ret_ms);
}

/* Asked again, it waits with the others: only a signal hurries a drain. */
static void drain(const struct question *q, struct answer *answer)
{
	uint64_t wait_ms = UINT64_MAX;
	bool waits;
	if (!read_wait(q->request->wait, &waits, &wait_ms)) {
		say_error(answer, 400,
			  "wait is a time like 60s, or \"none\" for as long as it takes");
		return;
	}
	if (!may_leave(q, "drain", answer))
		return;
	if (!is_draining(q))
		core_event(q->pages->core, EVENT_DRAIN, PAGES_DRAIN_WHY);
	answer->wait_ms = wait_ms;
	if (waits)
		answer->how = ANSWER_AT_THE_END;
	else
		say_done(q, 202, "draining", answer);
}

static void extend(const struct question *q, struct answer *answer)
{
	uint64_t more_ms;
	struct error why;
	if (q->request->by == NULL || !duration_parse(q->request->by, &more_ms)) {
		say_error(answer, 400, "by is needed, a time like 5m: POST /extend?by=5m");
		return;
	}
	if (drain_extend(&q->pages->core->drain, more_ms, &why) != ST_OK) {
		say_error(answer, 409, why.text);
		return;
	}
	say(answer, 200, "status", "extended");
}

static void wait_for_reload(uint64_t number, struct answer *answer)
{
	answer->how = ANSWER_WHEN_RELOADED;
	answer->reload = number;
}

static void reload(const struct question *q, struct answer *answer)
{
	const struct reloading *reloading = &q->pages->reloading;
	struct error why;
	enum status st = ST_OK;
	uint64_t number = q->request->reload;
	if (number == 0 && (number = reloading->ask(reloading->arg, &why)) == 0) {
		say_error(answer, 409, why.text);
	} else if (!reloading->answer(reloading->arg, number, &answer->made, &st, &why)) {
		if (q->request->late)
			say_error(answer, 504,
				  "the configuration is still being read, a file system or a name "
				  "service does not answer: the log will say how it ends");
		else
			wait_for_reload(number, answer);
	} else if (st != ST_OK) {
		say_error(answer, 409, why.text);
	} else {
		answer->status = 200;
		answer->type = JSON;
	}
}

/* --- the table --- */

static const struct page {
	const char *path, *method;
	void (*answer)(const struct question *q, struct answer *answer);
} table[] = {
    {"/",	    "GET",  index_html },
    {"/page.css",    "GET",  page_css   },
    {"/page.js",     "GET",  page_js    },
    {"/favicon.svg", "GET",  favicon_svg},
    {"/livez",       "GET",  livez      },
    {"/readyz",      "GET",  readyz     },
    {"/health",      "GET",  health     },
    {"/metrics",     "GET",  metrics    },
    {"/status",      "GET",  status     },
    {"/events",      "GET",  events     },
    {"/quiet",       "POST", quiet      },
    {"/resume",      "POST", resume     },
    {"/drain",       "POST", drain      },
    {"/extend",      "POST", extend     },
    {"/reload",      "POST", reload     },
};

static const struct page *find_page(const char *path)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(table[i].path, path) == 0)
			return &table[i];
	return NULL;
}

bool pages_is_dear(const char *path)
{
	const struct page *page = find_page(path);
	return page != NULL && (page->answer == metrics || page->answer == status);
}

static bool is_method(const struct page *page, const char *method)
{
	return strcmp(page->method, method) == 0 ||
	       (strcmp(page->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

static void refuse(enum guard_word word, struct answer *answer)
{
	switch (word) {
	case GUARD_FOREIGN_HOST:
		say_error(answer, 403,
			  "asked under a name that is not this worker's: add it to admin.hosts, or "
			  "use an address");
		break;
	case GUARD_FOREIGN_ORIGIN:
		say_error(answer, 403, "asked by a page from elsewhere");
		break;
	case GUARD_READ_ONLY:
		say_error(answer, 403,
			  "only reading is allowed here: use the socket, or set admin.token_file");
		break;
	case GUARD_NO_TOKEN:
		say_error(answer, 401,
			  "the token is missing or wrong: Authorization: Bearer TOKEN");
		answer->ask_token = true;
		break;
	case GUARD_PASS:
		break;
	}
}

void pages_answer(const struct pages *pages, const struct gate *gate, const struct request *request,
		  struct answer *ret_answer)
{
	struct question q = {.pages = pages, .gate = gate, .request = request};
	const struct page *page = find_page(request->path);
	enum guard_word word = guard_check(gate, request);
	*ret_answer = (struct answer){0};
	if (word != GUARD_PASS && request->reload == 0) {
		refuse(word, ret_answer);
	} else if (page == NULL) {
		say_error(ret_answer, 404, "there is no such page");
	} else if (!is_method(page, request->method)) {
		say_error(ret_answer, 405, "not with this method");
		ret_answer->allow = strcmp(page->method, "GET") == 0 ? "GET, HEAD" : page->method;
	} else {
		pages->look(pages, &q.view);
		page->answer(&q, ret_answer);
	}
}

void pages_wait_over(const struct pages *pages, struct answer *ret_answer)
{
	struct view view;
	bool closed = core_is_closed(pages->core);
	pages->look(pages, &view);
	*ret_answer = (struct answer){.status = closed ? 200 : 202, .type = JSON};
	if (closed)
		status_put_goodbye(&ret_answer->made, &view, CONTROL_NONE);
	else
		(void)status_put(&ret_answer->made, &view, CONTROL_NONE);
	text_put_literal(&ret_answer->made, "\n");
}

void answer_fini(struct answer *answer)
{
	text_fini(&answer->made);
}

struct span answer_body(const struct answer *answer)
{
	return answer->fixed.ptr != NULL ? answer->fixed : text_span(&answer->made);
}

enum status_control pages_control(const struct gate *gate)
{
	if (gate->is_unix)
		return CONTROL_ALL;
	return gate->token != NULL ? CONTROL_TOKEN : CONTROL_NONE;
}
