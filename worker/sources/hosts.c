/* After a failure the next address is tried, also after one that had worked: in a rolling restart of
 * a cluster the node that went down is the one least likely to be back. Once all have failed it is
 * time to wait.
 *
 * "Worked" alone is not enough to begin a new round: a broker that lets us in and throws us out
 * again, on two nodes in turn, would be asked without a pause for ever. So a connection counts once
 * it has stood for five seconds; until then each loss is one more failure of the same round.
 *
 * The order is drawn once, at the start: a fleet of workers spreads over the nodes, while each worker
 * visits them in an order that its log shows plainly. */
#include "sources/hosts.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "loop/errand.h"
#include "settings/secrets.h"
#include "settings/settings.h"
#include "wire/tls.h"

#include <string.h>

#define STEADY_NS UINT64_C(5000000000)

/* Fisher and Yates, with a generator that needs no more than to be different in each process. */
static void shuffle(size_t *order, size_t n, uint32_t random)
{
	uint64_t state = random | UINT64_C(1) << 32;
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t i = n; i > 1; i--) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		size_t j = (size_t)((state >> 33) % i);
		size_t swapped = order[i - 1];
		order[i - 1] = order[j];
		order[j] = swapped;
	}
}

enum status hosts_init(struct hosts *hosts, const struct broker_settings *settings, struct log *log,
		       const char *source, uint32_t random)
{
	*hosts = (struct hosts){.settings = settings, .log = log, .source = source};
	hosts->order = memory_clear(settings->n_urls, sizeof *hosts->order);
	hosts->again = memory_clear(settings->n_urls, sizeof *hosts->again);
	if (hosts->order == NULL || hosts->again == NULL) {
		hosts_fini(hosts);
		return ST_NOMEM;
	}
	shuffle(hosts->order, settings->n_urls, random);
	return ST_OK;
}

void hosts_fini(struct hosts *hosts)
{
	hosts_stop_reading(hosts);
	for (size_t i = 0; hosts->again != NULL && i < hosts->settings->n_urls; i++)
		memory_free_secret(hosts->again[i]);
	memory_free(hosts->again);
	memory_free(hosts->order);
	url_free(&hosts->url);
	tls_destroy(hosts->tls);
	*hosts = (struct hosts){0};
}

/* --- reading files again ---------------------------------------------------------------------- */

static const char *url_now(const struct hosts *hosts, size_t i)
{
	return hosts->again[i] != NULL ? hosts->again[i] : hosts->settings->urls[i];
}

/* A file may be on a server that is dead, and then its thread never comes back: so all that the thread touches
 * is its own. */
struct hosts_reading {
	struct broker_settings from; /* a copy of what says where to read */
	char **read;                 /* as many as from.urls; NULL: as before */
	struct error why;            /* ST_OK: all have been read */

	struct errand *errand; /* from here on used on the loop only */
	struct hosts *hosts;
	void (*done)(void *arg, enum hosts_news news);
	void *arg;
};

static void free_texts(char **texts, size_t n)
{
	for (size_t i = 0; texts != NULL && i < n; i++)
		memory_free_secret(texts[i]);
	memory_free(texts);
}

static void free_reading(void *arg)
{
	struct hosts_reading *reading = arg;
	size_t n = reading->from.n_urls;
	free_texts((char **)(uintptr_t)reading->from.urls, n);
	free_texts((char **)(uintptr_t)reading->from.bare_urls, n);
	free_texts(reading->read, n);
	memory_free((char *)(uintptr_t)reading->from.url_file);
	memory_free((char *)(uintptr_t)reading->from.password_file);
	memory_free(reading);
}

static bool copy_text(const char *text, const char **ret_copy)
{
	*ret_copy = text != NULL ? memory_text(text) : NULL;
	return text == NULL || *ret_copy != NULL;
}

static bool copy_texts(const char **texts, size_t n, const char ***ret_copies)
{
	const char **copies = memory_clear(n, sizeof(char *));
	bool good = copies != NULL;
	*ret_copies = copies;
	for (size_t i = 0; good && texts != NULL && i < n; i++)
		good = copy_text(texts[i], &copies[i]);
	return good;
}

static struct hosts_reading *create_reading(const struct broker_settings *from)
{
	struct hosts_reading *reading = memory_clear(1, sizeof *reading);
	if (reading == NULL)
		return NULL;
	struct broker_settings *copy = &reading->from;
	copy->schema = from->schema;
	copy->n_urls = from->n_urls;
	reading->read = memory_clear(from->n_urls, sizeof *reading->read);
	if (reading->read != NULL && copy_texts(from->urls, from->n_urls, &copy->urls) &&
	    copy_texts(from->bare_urls, from->n_urls, &copy->bare_urls) &&
	    copy_text(from->url_file, &copy->url_file) &&
	    copy_text(from->password_file, &copy->password_file))
		return reading;
	free_reading(reading);
	return NULL;
}

static void read_files(void *arg)
{
	struct hosts_reading *reading = arg;
	enum status st = ST_OK;
	for (size_t i = 0; i < reading->from.n_urls && st == ST_OK; i++)
		st = secrets_read_again(&reading->from, i, &reading->read[i], &reading->why);
	reading->why.status = st;
}

/* Said once, until it can be read again. */
static void say_unreadable(struct hosts *hosts, const struct error *why)
{
	if (!hosts->unreadable)
		log_say(hosts->log, LOG_WARN, "secret not read again, keeping the last one",
			kv_text("source", hosts->source), kv_why(why));
	hosts->unreadable = true;
}

static enum hosts_news take_read(struct hosts *hosts, struct hosts_reading *reading)
{
	enum hosts_news news = HOSTS_AS_BEFORE;
	if (reading->why.status != ST_OK) {
		say_unreadable(hosts, &reading->why);
		return news;
	}
	hosts->unreadable = false;
	for (size_t i = 0; i < reading->from.n_urls; i++) {
		char *read = reading->read[i];
		if (read == NULL || strcmp(read, url_now(hosts, i)) == 0)
			continue;
		if (i == hosts->current)
			news = HOSTS_CHANGED;
		memory_free_secret(hosts->again[i]);
		hosts->again[i] = read;
		reading->read[i] = NULL;
	}
	return news;
}

static void reading_done(void *arg)
{
	struct hosts_reading *reading = arg;
	struct hosts *hosts = reading->hosts;
	void (*done)(void *, enum hosts_news) = reading->done;
	void *done_arg = reading->arg;
	hosts->reading = NULL;
	enum hosts_news news = take_read(hosts, reading);
	free_reading(reading);
	done(done_arg, news);
}

bool hosts_have_files(const struct hosts *hosts)
{
	return hosts->settings->url_file != NULL || hosts->settings->password_file != NULL;
}

bool hosts_read(struct hosts *hosts, struct loop *loop,
		void (*done)(void *arg, enum hosts_news news), void *arg)
{
	static const struct errand_calls calls = {read_files, reading_done, free_reading};
	if (!hosts_have_files(hosts) || hosts->reading != NULL)
		return false;
	struct hosts_reading *reading = create_reading(hosts->settings);
	if (reading == NULL)
		return false;
	reading->hosts = hosts;
	reading->done = done;
	reading->arg = arg;
	struct errand *errand = errand_start(loop, &calls, reading);
	if (errand == NULL) {
		free_reading(reading);
		return false;
	}
	reading->errand = errand;
	hosts->reading = reading;
	return true;
}

void hosts_read_now(struct hosts *hosts)
{
	struct hosts_reading *reading =
	    hosts_have_files(hosts) ? create_reading(hosts->settings) : NULL;
	if (reading == NULL)
		return;
	read_files(reading);
	(void)take_read(hosts, reading); /* hosts_next() hands out what is new in it */
	free_reading(reading);
}

void hosts_stop_reading(struct hosts *hosts)
{
	if (hosts->reading != NULL)
		errand_give_up(hosts->reading->errand);
	hosts->reading = NULL;
}

/* --- one address ---------------------------------------------------------------------------- */

/* The stream reads the files, too, but cannot tell that it goes on with older ones. */
static enum status prepare_tls(struct hosts *hosts, const struct url *url, struct error *why)
{
	struct error stale;
	if (!url_wants_tls(url))
		return ST_OK;
	if (hosts->tls == NULL)
		hosts->tls = tls_create(&hosts->settings->tls);
	if (hosts->tls == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	if (tls_read_files(hosts->tls, NULL, &stale) != ST_OK && tls_is_usable(hosts->tls))
		log_say(hosts->log, LOG_WARN, "certificates not read again, keeping the last ones",
			kv_text("source", hosts->source), kv_why(&stale));
	return ST_OK;
}

static bool same_place(const struct url *a, const struct url *b)
{
	if (a->text == NULL || a->scheme != b->scheme || a->port != b->port)
		return false;
	if (a->scheme == URL_UNIX)
		return strcmp(a->path, b->path) == 0;
	if (a->service != NULL && strcmp(a->service, b->service) != 0)
		return false;
	return strcmp(a->host, b->host) == 0;
}

enum status hosts_next(struct hosts *hosts, const struct url **ret_url, struct error *why)
{
	struct url url;
	hosts->current = hosts->order[hosts->next];
	hosts->next = (hosts->next + 1) % hosts->settings->n_urls;
	enum status st = url_parse(url_now(hosts, hosts->current), &url, why);
	if (st != ST_OK)
		return st;
	st = prepare_tls(hosts, &url, why);
	if (st != ST_OK) {
		url_free(&url);
		return st;
	}
	hosts->place += !same_place(&hosts->url, &url);
	url_free(&hosts->url);
	hosts->url = url;
	*ret_url = &hosts->url;
	return ST_OK;
}

enum status hosts_current(const struct hosts *hosts, struct url *ret_url, struct error *why)
{
	return url_parse(url_now(hosts, hosts->current), ret_url, why);
}

void hosts_redacted(const struct hosts *hosts, char *buf, size_t size)
{
	url_redacted(url_now(hosts, hosts->current), buf, size);
}

bool hosts_is_cluster(const struct hosts *hosts)
{
	return hosts->url.scheme == URL_CLUSTER || hosts->url.scheme == URL_CLUSTERS;
}

bool hosts_ask_sentinels(const struct hosts *hosts)
{
	return hosts->url.service != NULL;
}

struct address hosts_address_of(const struct hosts *hosts, const char *host, unsigned port)
{
	return (struct address){
	    .host = host,
	    .port = port,
	    .tls = url_wants_tls(&hosts->url) ? hosts->tls : NULL,
	    .dead_after_ms = hosts->dead_after_ms,
	    .first = hosts->first,
	};
}

struct address hosts_address(const struct hosts *hosts)
{
	const struct url *url = &hosts->url;
	if (url->scheme == URL_UNIX)
		return (struct address){.path = url->path};
	return hosts_address_of(hosts, url->host, url->port);
}

/* --- how it went ---------------------------------------------------------------------------- */

void hosts_worked(struct hosts *hosts, uint64_t now_ns)
{
	hosts->up_since_ns = now_ns;
}

bool hosts_failed(struct hosts *hosts, uint64_t now_ns, bool *ret_steady)
{
	*ret_steady = hosts->up_since_ns != 0 && now_ns - hosts->up_since_ns >= STEADY_NS;
	hosts->first += hosts->up_since_ns == 0;
	hosts->up_since_ns = 0;
	if (*ret_steady)
		hosts->failed = 0;
	hosts->failed++;
	if (hosts->failed < hosts->settings->n_urls)
		return false;
	hosts->failed = 0;
	return true;
}
