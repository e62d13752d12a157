/* curl_library - libcurl, loaded when the first http handler asks for it.
 *
 * Thread: the loop's.
 * Owns:   the functions, from curl_library_open() with ST_OK until curl_library_close(). Each handler
 *         has a struct of its own; the library counts.
 * Fails:  with ST_SYSTEM where libcurl is not installed, or too old to have all of these. */
#ifndef OUTFALL_EXECUTORS_CURL_LIBRARY_H
#define OUTFALL_EXECUTORS_CURL_LIBRARY_H

#include "base/error.h"

#include <curl/curl.h>
#include <stdbool.h>

struct curl_library {
	__typeof__(curl_global_init) *global_init;
	__typeof__(curl_global_cleanup) *global_cleanup;
	__typeof__(curl_easy_init) *easy_init;
	__typeof__(curl_easy_cleanup) *easy_cleanup;
	__typeof__(curl_easy_setopt) *easy_setopt;
	__typeof__(curl_easy_getinfo) *easy_getinfo;
	__typeof__(curl_easy_strerror) *easy_strerror;
	__typeof__(curl_easy_header) *easy_header;
	__typeof__(curl_multi_init) *multi_init;
	__typeof__(curl_multi_cleanup) *multi_cleanup;
	__typeof__(curl_multi_setopt) *multi_setopt;
	__typeof__(curl_multi_add_handle) *multi_add_handle;
	__typeof__(curl_multi_remove_handle) *multi_remove_handle;
	__typeof__(curl_multi_assign) *multi_assign;
	__typeof__(curl_multi_socket_action) *multi_socket_action;
	__typeof__(curl_multi_info_read) *multi_info_read;
	bool ready;
};

enum status curl_library_open(struct curl_library *curl, struct error *why);
void curl_library_close(struct curl_library *curl); /* fine on a zeroed one */

#endif
