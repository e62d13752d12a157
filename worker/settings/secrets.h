/* secrets - broker addresses with the passwords that are kept in files of their own.
 *
 * Thread: any.
 * Owns:   what loading finds lives in the region; what is read again belongs to the caller.
 * Fails:  loading with false after reporting, reading again with a sentence; neither ever quotes
 *         what a secret may be part of. */
#ifndef OUTFALL_SETTINGS_SECRETS_H
#define OUTFALL_SETTINGS_SECRETS_H

#include "settings/document.h"
#include "wire/url.h"

struct broker_settings;

struct secrets_context { /* what each step of loading needs */
	const struct block *block;
	struct region *region;
	struct files *files;
	struct problems *problems;
};

/* The one line in the file that `key` names, which was given; NULL after reporting. */
const char *secrets_line(const struct secrets_context *context, const char *key);

/* The broker's addresses from url, urls, url_file and password_file of a source's block,
 * into the fields for them; there is at least one, NULL stands behind the last. */
bool secrets_urls(const struct secrets_context *context, struct broker_settings *broker);

/* The i-th address as its file has it now; the caller frees it (memory_free). NULL: there is no file,
 * or one that can be read only once. ST_SYSTEM, ST_INVALID: the file is gone, or holds no address
 * of this kind; ST_NOMEM. */
enum status secrets_read_again(const struct broker_settings *broker, size_t i, char **ret_url,
			       struct error *why);

#endif
