/* no_ipv6 - a host without IPv6 (ipv6.disable=1), preloaded. */
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>

int socket(int family, int type, int protocol)
{
	if (family == AF_INET6) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	int (*next)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
	return next(family, type, protocol);
}
