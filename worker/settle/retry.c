/* How long to wait before the next attempt. Saturating throughout: a policy of fifty doublings is a
 * policy of "max". */
#include "settings/settings.h"
#include "settle/verdict.h"

/* first, first*2, first*4 ... (or first*n, or first), at most max. `n` counts from 0. */
static uint64_t base_delay_ms(const struct retry_settings *retry, uint32_t n)
{
	uint64_t delay_ms = retry->first_ms;
	switch (retry->backoff) {
	case BACKOFF_EXPONENTIAL:
		for (; n > 0 && delay_ms < retry->max_ms; n--)
			delay_ms *= 2; /* max_ms is at most days: no overflow before it is passed */
		break;
	case BACKOFF_LINEAR:
		delay_ms = delay_ms > retry->max_ms / (n + UINT64_C(1)) ? retry->max_ms
									: delay_ms * (n + 1);
		break;
	case BACKOFF_CONSTANT:
		break;
	}
	return delay_ms < retry->max_ms ? delay_ms : retry->max_ms;
}

uint64_t retry_delay_ms(const struct retry_settings *retry, uint32_t attempt, uint32_t random)
{
	uint64_t base_ms = base_delay_ms(retry, attempt >= 2 ? attempt - 2 : 0);
	/* -1, -1/2, 0, 1/2 or 1 times the jitter: few enough delays to share retry queues. */
	double swing = ((int)(random % 5) - 2) * 0.5 * retry->jitter;
	double delay_ms = (double)base_ms * (1.0 + swing);
	return delay_ms < 1.0 ? 1 : (uint64_t)delay_ms;
}
