/* budget - how many jobs may run at once in this process. A counter with a ceiling.
 *
 * Thread: the loop's.
 * Units:  permits; one for each job that can run now.
 * Fails:  budget_take() with false when all are out; giving back too much aborts. */
#ifndef OUTFALL_DISPATCH_BUDGET_H
#define OUTFALL_DISPATCH_BUDGET_H

#include "base/must.h"

#include <stdbool.h>

struct budget {
	unsigned limit, taken; /* more may be out than the limit, where that was lowered */
};

static inline bool budget_take(struct budget *budget)
{
	if (budget->taken >= budget->limit)
		return false;
	budget->taken++;
	return true;
}

static inline void budget_give_back(struct budget *budget)
{
	must(budget->taken > 0);
	budget->taken--;
}

static inline unsigned budget_left(const struct budget *budget)
{
	return budget->limit > budget->taken ? budget->limit - budget->taken : 0;
}

#endif
