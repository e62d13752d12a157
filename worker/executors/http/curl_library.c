/* Why not link it? Debian's libcurl brings 25 libraries (Kerberos, LDAP, RTMP, a second TLS): 6 MB of
 * memory and 15 ms of every start, for a worker that is to be idle in 8 MB, and most workers have no
 * http handler. The price is that calls to curl_easy_setopt() through a pointer are not checked by
 * curl's macros: a `long` must be written as one.
 *
 * It is never unloaded: a look-up that a silent DNS server holds has a thread in there, which curl
 * itself leaves behind (see QUICK_EXIT in http.c). */
#include "executors/http/curl_library.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#define FUNCTION(name)                                                                             \
	{                                                                                          \
		"curl_" #name, offsetof(struct curl_library, name)                                 \
	}

static const struct function {
	const char *name;
	size_t offset;
} functions[] = {
    FUNCTION(global_init),         FUNCTION(global_cleanup), FUNCTION(easy_init),
    FUNCTION(easy_cleanup),        FUNCTION(easy_setopt),    FUNCTION(easy_getinfo),
    FUNCTION(easy_strerror),       FUNCTION(easy_header),    FUNCTION(multi_init),
    FUNCTION(multi_cleanup),       FUNCTION(multi_setopt),   FUNCTION(multi_add_handle),
    FUNCTION(multi_remove_handle), FUNCTION(multi_assign),   FUNCTION(multi_socket_action),
    FUNCTION(multi_info_read),
};

static enum status find_functions(struct curl_library *curl, void *library, struct error *why)
{
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		void *function = dlsym(library, functions[i].name);
		if (function == NULL)
			return error_set(why, ST_SYSTEM, "libcurl is too old: it has no %s",
					 functions[i].name);
		memcpy((char *)curl + functions[i].offset, &function, sizeof function);
	}
	return ST_OK;
}

enum status curl_library_open(struct curl_library *curl, struct error *why)
{
	void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (library == NULL)
		return error_set(why, ST_SYSTEM, "http handlers need libcurl: %s", dlerror());
	enum status st = find_functions(curl, library, why);
	if (st != ST_OK)
		return st;
	if (curl->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return error_set(why, ST_NOMEM, "libcurl: out of memory");
	curl->ready = true;
	return ST_OK;
}

void curl_library_close(struct curl_library *curl)
{
	if (curl->ready)
		curl->global_cleanup();
	curl->ready = false;
}
