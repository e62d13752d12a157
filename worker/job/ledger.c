/* Being in a state and being on its list are one act: move() does both, and no one else assigns
 * job->state. The counts could be had by walking the lists; they are kept because the drain asks
 * every turn and a list may be ten thousand long. */
#include "job/ledger.h"

#include "base/moves.h"
#include "base/must.h"

static const struct moves_row states[JOB_STATES] = {
    [JOB_HELD] = {"held",     MAY(JOB_RUNNING) | MAY(JOB_SETTLING)},
    [JOB_RUNNING] = {"running",  MAY(JOB_HELD) | MAY(JOB_FINISHED)   },
    [JOB_FINISHED] = {"finished", MAY(JOB_SETTLING)                   },
    [JOB_SETTLING] = {"settling", 0				   },
};

static void enter(struct ledger *ledger, struct job *job, enum job_state state)
{
	job->state = state;
	list_append(&ledger->lists[state], &job->in_ledger);
	ledger->counts[state]++;
}

static void leave(struct ledger *ledger, struct job *job)
{
	must(list_linked(&job->in_ledger));
	must(ledger->counts[job->state] > 0);
	list_remove(&job->in_ledger);
	ledger->counts[job->state]--;
}

static void move(struct ledger *ledger, struct job *job, enum job_state state)
{
	must(moves_may(states, job->state, state));
	leave(ledger, job);
	enter(ledger, job, state);
}

void ledger_init(struct ledger *ledger)
{
	for (int state = 0; state < JOB_STATES; state++) {
		list_init(&ledger->lists[state]);
		ledger->counts[state] = 0;
	}
}

void ledger_admit(struct ledger *ledger, struct job *job)
{
	must(!list_linked(&job->in_ledger));
	enter(ledger, job, JOB_HELD);
}

void ledger_begin(struct ledger *ledger, struct job *job)
{
	move(ledger, job, JOB_RUNNING);
}

void ledger_hold_again(struct ledger *ledger, struct job *job)
{
	move(ledger, job, JOB_HELD);
}

void ledger_finish(struct ledger *ledger, struct job *job)
{
	move(ledger, job, JOB_FINISHED);
}

void ledger_tell(struct ledger *ledger, struct job *job)
{
	move(ledger, job, JOB_SETTLING);
}

void ledger_drop(struct ledger *ledger, struct job *job)
{
	leave(ledger, job);
}

size_t ledger_total(const struct ledger *ledger)
{
	size_t total = 0;
	for (int state = 0; state < JOB_STATES; state++)
		total += ledger->counts[state];
	return total;
}
