#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

void must_failed(const char *file, int line, const char *func, const char *cond)
{
	fprintf(stderr, "outfall: internal error: %s:%d: %s: must(%s)\n", file, line, func, cond);
	abort();
}
