/* secrets - broker addresses with the passwords that are kept in files of their own.
 *
 * Thread: any.
 * Owns:   what loading finds lives in the region; what is read again belongs to the caller.
 * Fails:  loading with false after reporting, reading again with a sentence; neither ever quotes
 *         what a secret may be part of. */
#ifndef OUTFALL_SETTINGS_SECRETS_H
#define OUTFALL_SETTINGS_SECRETS_H

#include "settings/parse.h"
#include "wire/url.h"

struct broker_settings;

/* `name`, seen from the folder that `file` is in. */
const char *beside(struct region *region, const char *file, const char *name);

/* The one line in the file that `key` names, which was given; NULL after reporting. */
const char *secrets_line(const struct block *block, const char *key, struct region *region,
			 struct problems *problems);

/* The broker's addresses from url, urls, url_file and password_file of a `rabbitmq` or `redis`
 * block, into the fields for them; there is at least one, NULL stands behind the last. */
bool secrets_urls(const struct block *block, struct region *region, struct problems *problems,
		  struct broker_settings *broker);

/* The i-th address as its file has it now; the caller frees it (memory_free). NULL: there is no file,
 * or one that can be read only once. ST_SYSTEM, ST_INVALID: the file is gone, or holds no address
 * of this kind; ST_NOMEM. */
enum status secrets_read_again(const struct broker_settings *broker, size_t i, char **ret_url,
			       struct error *why);

#endif
