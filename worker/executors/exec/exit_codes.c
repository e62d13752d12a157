/* An exit status is the handler's own word and is believed, whatever we asked of it before: a child
 * that exits with 0 after SIGTERM has done its work. Death by a signal is a crash only if the
 * signal was not ours.
 *
 * rabbitmq-cli-consumer knows two modes. In the strict one 3 to 6 are the words below and any other
 * status ends the consumer; in the usual one any failure puts the message back at once, for ever. We take
 * the words from the one and neither end from the other: a status that is none of them is a failure
 * like any, retried with its waits and its last attempt. A script for the usual mode means exactly
 * "try again" by it. */
#include "executors/exec/exit_codes.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

struct meaning {
	int code;
	enum outcome_kind kind;
	bool failed; /* of OUTCOME_RETURN */
};

static const struct meaning own_meanings[] = {
    {EX_OK,      OUTCOME_DONE,   false},
    {EX_DATAERR, OUTCOME_REJECT, false},
    {-1,	 OUTCOME_RETRY,  false}, /* any other */
};

static const struct meaning cli_consumer_meanings[] = {
    {0,  OUTCOME_DONE,   false},
    {3,  OUTCOME_REJECT, false}, /* reject */
    {4,  OUTCOME_RETURN, true }, /* reject, requeue */
    {5,  OUTCOME_REJECT, false}, /* nack */
    {6,  OUTCOME_RETURN, false}, /* nack, requeue */
    {-1, OUTCOME_RETRY,  false},
};

/* How a shell says that the program under it died of a signal. SIGTERM and its like are left out: programs
 * use these numbers for an end in order. */
static bool is_shells_crash(int code)
{
	static const int signals[] = {SIGILL,  SIGTRAP, SIGABRT, SIGBUS, SIGFPE,
				      SIGKILL, SIGSEGV, SIGSYS,  SIGXCPU};
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		if (code == 128 + signals[i])
			return true;
	return false;
}

static bool was_ours(int signum, enum child_stop stop)
{
	return (stop != CHILD_LEFT_ALONE && signum == SIGTERM) ||
	       (stop == CHILD_KILLED && signum == SIGKILL);
}

static struct outcome outcome_of_status(enum exit_codes codes, int code, enum child_stop stop)
{
	const struct meaning *meaning =
	    codes == EXIT_CODES_CLI_CONSUMER ? cli_consumer_meanings : own_meanings;
	while (meaning->code != code && meaning->code != -1)
		meaning++;
	struct outcome outcome = {.kind = meaning->kind, .failed = meaning->failed};
	outcome.crashed =
	    meaning->code == -1 && is_shells_crash(code) && !was_ours(code - 128, stop);
	if (outcome.kind != OUTCOME_DONE)
		(void)snprintf(outcome.reason, sizeof outcome.reason, "exit status %d", code);
	return outcome;
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

struct outcome outcome_of_exit(enum exit_codes codes, int status, enum child_stop stop)
{
	if (WIFSIGNALED(status))
		return outcome_of_signal(WTERMSIG(status), stop);
	return outcome_of_status(codes, WEXITSTATUS(status), stop);
}
