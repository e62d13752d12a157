/* An exit status is the handler's own word and is believed, whatever we asked of it before: a child
 * that exits with 0 after SIGTERM has done its work. Death by a signal is a crash only if the
 * signal was not ours. */
#include "executors/exit_codes.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

static struct outcome outcome_of_status(int code)
{
	struct outcome outcome = {.kind = OUTCOME_RETRY};
	if (code == EX_OK) {
		outcome.kind = OUTCOME_DONE;
		return outcome;
	}
	if (code == EX_DATAERR)
		outcome.kind = OUTCOME_REJECT;
	(void)snprintf(outcome.reason, sizeof outcome.reason, "exit status %d", code);
	return outcome;
}

static bool was_ours(int signum, enum child_stop stop)
{
	return (stop != CHILD_LEFT_ALONE && signum == SIGTERM) ||
	       (stop == CHILD_KILLED && signum == SIGKILL);
}

static struct outcome outcome_of_signal(int signum, enum child_stop stop)
{
	bool ours = was_ours(signum, stop);
	struct outcome outcome = {
	    .kind = ours && stop == CHILD_KILLED ? OUTCOME_ABANDONED : OUTCOME_RETRY,
	    .crashed = !ours,
	};
	const char *name = sigabbrev_np(signum);
	if (name != NULL)
		(void)snprintf(outcome.reason, sizeof outcome.reason, "ended by SIG%s", name);
	else
		(void)snprintf(outcome.reason, sizeof outcome.reason, "ended by signal %d", signum);
	return outcome;
}

struct outcome outcome_of_exit(int status, enum child_stop stop)
{
	if (WIFSIGNALED(status))
		return outcome_of_signal(WTERMSIG(status), stop);
	return outcome_of_status(WEXITSTATUS(status));
}
