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

static void forget(char *url)
{
	if (url != NULL)
		explicit_bzero(url, strlen(url)); /* there may be a password in it */
	memory_free(url);
}

void hosts_fini(struct hosts *hosts)
{
	for (size_t i = 0; hosts->again != NULL && i < hosts->settings->n_urls; i++)
		forget(hosts->again[i]);
	memory_free(hosts->again);
	memory_free(hosts->order);
	url_free(&hosts->url);
	tls_destroy(hosts->tls);
	*hosts = (struct hosts){0};
}

/* --- one address ---------------------------------------------------------------------------- */

static const char *current_url(struct hosts *hosts, size_t i)
{
	char *again = NULL;
	struct error why;
	if (secrets_read_again(hosts->settings, i, &again, &why) != ST_OK)
		log_say(hosts->log, LOG_WARN, "secret not read again, keeping the last one",
			kv_text("source", hosts->source), kv_why(&why));
	if (again != NULL) {
		forget(hosts->again[i]);
		hosts->again[i] = again;
	}
	return hosts->again[i] != NULL ? hosts->again[i] : hosts->settings->urls[i];
}

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
	enum status st = url_parse(current_url(hosts, hosts->current), &url, why);
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

void hosts_redacted(const struct hosts *hosts, char *buf, size_t size)
{
	const char *again = hosts->again[hosts->current];
	url_redacted(again != NULL ? again : hosts->settings->urls[hosts->current], buf, size);
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
