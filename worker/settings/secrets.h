/* secrets - broker addresses with the passwords that are kept in files of their own.
 *
 * Thread: any.
 * Owns:   the texts live in the region.
 * Fails:  with false after reporting; no report ever quotes what a secret may be part of. */
#ifndef OUTFALL_SETTINGS_SECRETS_H
#define OUTFALL_SETTINGS_SECRETS_H

#include "settings/parse.h"
#include "wire/url.h"

/* The broker's addresses from url, urls, url_file and password_file of a `rabbitmq` or `redis`
 * block. NULL-terminated; *ret_n is at least 1. */
bool secrets_urls(const struct block *block, struct region *region, struct problems *problems,
		  const char ***ret_urls, size_t *ret_n);

#endif
