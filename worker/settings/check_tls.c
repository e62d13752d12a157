/* Certificates are a broker section's most perishable part, so they are looked at as a connection
 * would look at them: read, parsed, matched. What is only a matter of time (an end that is near or
 * past) is a warning: the file may well be renewed before the worker next connects, and it reads
 * it again then. */
#include "settings/check.h"

#include "settings/problems.h"
#include "settings/rules.h"
#include "settings/source_schema.h"
#include "wire/tls.h"
#include "wire/url.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { SOON_S = 7 * 24 * 60 * 60 };

static const char *const file_keys[] = {
    [TLS_CA_FILE] = "ca_file", [TLS_CERT_FILE] = "cert_file", [TLS_KEY_FILE] = "key_file"};

size_t rules_count_tls(const struct broker_settings *broker)
{
	size_t n = 0;
	for (size_t i = 0; i < broker->n_urls; i++)
		n += url_is_tls(broker->urls[i]);
	return n;
}

/* Keys that would go unheard are most likely a forgotten "s". */
static void warn_without_effect(const struct rules *rules, const struct block *block)
{
	static const char *const keys[] = {"ca_file", "cert_file", "key_file", "tls_verify",
					   "tls_server_name"};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (block_said(block, keys[i])->n > 0)
			problems_warn(rules->problems, block_place(block, keys[i]),
				      "%s \"%s\": %s has no effect without an %s address",
				      kind_of(block), block->title, keys[i],
				      block->section->schema->tls_scheme);
}

static void check_end(const struct rules *rules, const struct block *block, const char *key,
		      const char *path)
{
	time_t ends;
	char date[32];
	struct tm tm;
	struct error why;
	if (tls_certificate_ends(path, &ends, &why) != ST_OK)
		return; /* read as a whole it was good enough */
	time_t left_s = ends - time(NULL);
	if (left_s > SOON_S || gmtime_r(&ends, &tm) == NULL ||
	    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &tm) == 0)
		return;
	problems_warn(rules->problems, block_place(block, key),
		      left_s <= 0 ? "%s %s: the certificate expired on %s"
				  : "%s %s: the certificate expires on %s",
		      key, path, date);
}

static void check_key_mode(const struct rules *rules, const struct block *block,
			   const struct tls_settings *tls)
{
	struct stat st;
	const char *key = tls->key_file != NULL ? "key_file" : "cert_file";
	const char *path = tls->key_file != NULL ? tls->key_file : tls->cert_file;
	if (path != NULL && stat(path, &st) == 0 && (st.st_mode & S_IROTH) != 0)
		problems_warn(rules->problems, block_place(block, key),
			      "%s %s: everybody may read this private key: chmod o-r", key, path);
}

static void report_file(const struct rules *rules, const struct block *block, const char *key,
			const char *why)
{
	bool in_cert_file = block_said(block, key)->n == 0;
	const struct said *said = block_said(block, in_cert_file ? "cert_file" : key);
	char short_why[64];
	(void)snprintf(short_why, sizeof short_why, "the file of %s cannot be used", key);
	problems_error(rules->problems, block_place(block, key), "%s \"%s\": %s", kind_of(block),
		       block->title, said->n > 0 ? said_path(said, why, short_why) : why);
}

static void check_files(const struct rules *rules, const struct block *block,
			const struct tls_settings *settings)
{
	struct tls *tls = tls_create(settings);
	struct error why;
	enum tls_file which = TLS_CA_FILE;
	if (tls == NULL)
		return; /* no memory, and nothing that a configuration could mend */
	enum status st = tls_read_files(tls, &which, &why);
	tls_destroy(tls);
	if (st != ST_OK) {
		report_file(rules, block, file_keys[which], why.text);
		return;
	}
	if (settings->ca_file != NULL)
		check_end(rules, block, "ca_file", settings->ca_file);
	if (settings->cert_file != NULL)
		check_end(rules, block, "cert_file", settings->cert_file);
	check_key_mode(rules, block, settings);
}

void check_tls(const struct rules *rules, const struct block *block,
	       const struct broker_settings *broker)
{
	const struct tls_settings *tls = &broker->tls;
	if (broker->n_urls == 0)
		return; /* reported */
	if (rules_count_tls(broker) == 0) {
		warn_without_effect(rules, block);
		return;
	}
	if (tls->key_file != NULL && tls->cert_file == NULL) {
		problems_error(rules->problems, block_place(block, "key_file"),
			       "%s \"%s\": key_file needs a cert_file", kind_of(block),
			       block->title);
		return;
	}
	if (tls->verify == TLS_VERIFY_NONE)
		problems_warn(rules->problems, block_place(block, "tls_verify"),
			      "%s \"%s\": with tls_verify \"none\" anybody can pretend to be the "
			      "broker, and is given the password",
			      kind_of(block), block->title);
	check_files(rules, block, tls);
}
