#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum status error_set(struct error *e, enum status st, const char *fmt, ...)
{
	if (e == NULL)
		return st;
	va_list ap;
	va_start(ap, fmt);
	e->status = st;
	(void)vsnprintf(e->text, sizeof e->text, fmt, ap); /* cut is fine: it is a sentence */
	va_end(ap);
	return st;
}

enum status error_system(struct error *e, int errnum, const char *fmt, ...)
{
	if (e == NULL)
		return ST_SYSTEM;
	char what[sizeof e->text / 2];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	return error_set(e, ST_SYSTEM, "%s: %s", what, strerror(errnum));
}

enum status error_add(struct error *e, enum status st, const char *fmt, ...)
{
	if (e == NULL)
		return st;
	char inner[sizeof e->text];
	memcpy(inner, e->text, sizeof inner);
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	size_t used = n < 0 ? 0 : (size_t)n;
	if (used < sizeof e->text)
		(void)snprintf(e->text + used, sizeof e->text - used, ": %s", inner);
	e->status = st;
	return st;
}

const char *status_name(enum status st)
{
	static const char *const names[] = {
	    [ST_OK] = "ok",
	    [ST_AGAIN] = "not yet",
	    [ST_NOMEM] = "out of memory",
	    [ST_FULL] = "full",
	    [ST_SYSTEM] = "system error",
	    [ST_INVALID] = "invalid",
	    [ST_PROTO] = "protocol",
	    [ST_CLOSED] = "closed",
	    [ST_TIMEOUT] = "timed out",
	    [ST_AUTH] = "refused login",
	    [ST_MISSING] = "missing",
	    [ST_REFUSED] = "refused",
	    [ST_UNTRUSTED] = "not trusted",
	};
	return names[st];
}
