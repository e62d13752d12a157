/* moves - the states of a machine: what each is called, and which may follow it.
 *
 * A machine is a picture, an enum, a table with a row for each state, and one function that assigns the state. That
 * function asks here, and a move that the table does not have is a defect of ours:
 *
 *     must(moves_may(states, m->state, next));
 *
 * Thread: any; tables are constant. */
#ifndef OUTFALL_BASE_MOVES_H
#define OUTFALL_BASE_MOVES_H

#include <stdbool.h>

#define MAY(state) (1u << (state))

struct moves_row {
	const char *name;
	unsigned may_become; /* MAY() of each */
};

static inline bool moves_may(const struct moves_row *rows, unsigned from, unsigned to)
{
	return (rows[from].may_become & MAY(to)) != 0;
}

#endif
