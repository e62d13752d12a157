/* silent_resolver - a name server that never answers, as a library sees it: preloaded, it keeps whoever
 * asks for a name under .test and says so on stderr; other look-ups go on to the real one. */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **ret_found)
{
	size_t len = node != NULL ? strlen(node) : 0;
	if (len >= 5 && strcmp(node + len - 5, ".test") == 0) {
		static const char line[] = "silent look-up\n";
		(void)!write(STDERR_FILENO, line, sizeof line - 1);
		for (;;)
			(void)pause();
	}
	int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
	    (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
		RTLD_NEXT, "getaddrinfo");
	return next(node, service, hints, ret_found);
}
