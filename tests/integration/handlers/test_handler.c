/* test_handler - an exec handler that does what the job's body says and leaves a record.
 *
 *     test_handler RECORD < body
 *
 * RECORD gets one line when the job begins and one when it ends, each in one append, so that lines of
 * many processes never mix and a line is there even when the process is killed right after:
 *
 *     begin TAG attempt=1 interruptions=0 redelivered=0 queue=q id=... pid=123 bytes=5
 *     end TAG
 *
 * The body is TAG or TAG:INSTRUCTION (see instruction.h). A compiled program and not a script,
 * because some tests run thousands. */
#include "instruction.h"

#include <signal.h>
#include <sys/wait.h>

static const char *from_environment(const char *name)
{
	const char *value = getenv(name);
	return value != NULL ? value : "-";
}

static void record_begin(const struct instruction *todo, size_t bytes)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	record("begin %s attempt=%s interruptions=%s redelivered=%s queue=%s id=%s pid=%d "
	       "bytes=%zu timeout=%s source=%s at_ms=%lld",
	       todo->tag, from_environment("OUTFALL_ATTEMPT"),
	       from_environment("OUTFALL_INTERRUPTIONS"), from_environment("OUTFALL_REDELIVERED"),
	       from_environment("OUTFALL_QUEUE"), from_environment("OUTFALL_JOB_ID"), (int)getpid(),
	       bytes, from_environment("OUTFALL_TIMEOUT_MS"), from_environment("OUTFALL_SOURCE"),
	       (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static size_t read_all(char *head, size_t size)
{
	static char chunk[65536];
	size_t total = 0, kept = 0;
	ssize_t got;
	while ((got = read(STDIN_FILENO, chunk, sizeof chunk)) > 0) {
		for (ssize_t i = 0; i < got && kept + 1 < size; i++)
			head[kept++] = chunk[i];
		total += (size_t)got;
	}
	head[kept] = '\0';
	return total;
}

static void write_for_ever(void)
{
	static const char noise[] = "a line without end and without a newline ";
	for (;;)
		if (write(STDOUT_FILENO, noise, sizeof noise - 1) < 0)
			return;
}

static int carry_out(const struct instruction *todo)
{
	if (todo->verb == NULL || strcmp(todo->verb, "done") == 0)
		return 0;
	if (strcmp(todo->verb, "exit") == 0)
		return atoi(todo->argument);
	if (strcmp(todo->verb, "ms") == 0)
		sleep_ms(atol(todo->argument));
	else if (strcmp(todo->verb, "kill") == 0)
		raise(atoi(todo->argument));
	else if (strcmp(todo->verb, "kill-worker") == 0) {
		kill(getppid(), SIGKILL);
		for (;;)
			pause(); /* nothing of a killed worker's jobs lives on */
	} else if (strcmp(todo->verb, "gate") == 0)
		while (!gate_is_open(todo->argument))
			sleep_ms(2);
	else if (strcmp(todo->verb, "deaf") == 0) { /* SIGTERM does not impress it */
		signal(SIGTERM, SIG_IGN);
		record("deaf %s", todo->tag);
		while (!gate_is_open(todo->argument))
			sleep_ms(2);
	} else if (strcmp(todo->verb, "fail-until") == 0) { /* ...the attempt */
		return atoi(from_environment("OUTFALL_ATTEMPT")) < atoi(todo->argument) ? 75 : 0;
	} else if (strcmp(todo->verb, "write") == 0) {
		write_for_ever();
	} else if (strcmp(todo->verb, "say") == 0) {
		printf("%s\n", todo->argument);
		fflush(stdout);
	} else {
		return 64;
	}
	return 0;
}

int main(int argc, char **argv)
{
	char head[512];
	if (argc < 2 || !record_open(argv[1]))
		return 64;
	if (argc > 2 && strcmp(argv[2], "--close-stdin") == 0) {
		close(STDIN_FILENO);
		record("begin unread");
		return 0;
	}
	size_t bytes = read_all(head, sizeof head);
	struct instruction todo = instruction_parse(head);
	record_begin(&todo, bytes);
	int status = carry_out(&todo);
	if (status == 0)
		record("end %s", todo.tag);
	return status;
}
