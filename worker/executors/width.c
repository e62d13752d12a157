#include "executors/width.h"

#include "settings/settings.h"

#include <sys/resource.h>

enum { SPARE_DESCRIPTORS = 64 }; /* left to connections, log, plugins */

unsigned width_wanted(const struct handler_settings *handler, const struct worker_settings *worker)
{
	if (handler->concurrency != 0 && handler->concurrency < worker->concurrency)
		return handler->concurrency;
	return worker->concurrency;
}

unsigned width_affordable(unsigned wanted, unsigned descriptors_each)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY)
		return wanted;
	rlim_t width = 1;
	if (files.rlim_cur > SPARE_DESCRIPTORS + descriptors_each)
		width = (files.rlim_cur - SPARE_DESCRIPTORS) / descriptors_each;
	return width < wanted ? (unsigned)width : wanted;
}
