/* pool_scripted - a pool process that does what each job's body says, good and bad.
 *
 *     pool_scripted [concurrency=N] [banner] [never-ready] [late=MS] [leaves=JOBS] [deaf-to-cancel]
 *                   [stubborn] [lingers=MS] [dies-starting] [reads-by-byte]
 *
 * It answers at once, or holds a job ("hold") until another says "release". A held job that is
 * cancelled is returned. It notes each notice on stderr. */
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_HELD = 4096 };

struct process {
	unsigned concurrency, leaves, done, lingers_ms;
	bool deaf_to_cancel, stubborn;
	char *grown;
	char *held[MOST_HELD];
	unsigned n_held;
};

struct incoming {
	const char *id;
	size_t bytes;
	char *body; /* NUL-terminated */
};

static void say(const char *format, const char *word)
{
	printf(format, word);
	fflush(stdout);
}

static void result(const char *id, const char *outcome, const char *rest)
{
	json_t *text = json_string(id);
	char *quoted = json_dumps(text, JSON_ENCODE_ANY);
	printf("{\"type\": \"result\", \"id\": %s, \"outcome\": \"%s\"%s}\n", quoted, outcome,
	       rest);
	fflush(stdout);
	free(quoted);
	json_decref(text);
}

static void wait_for_ever(void)
{
	for (;;)
		pause();
}

static void wait_until_sent_more(void)
{
	struct pollfd stdin_has = {.fd = 0, .events = POLLIN};
	(void)poll(&stdin_has, 1, -1);
}

static void read_body(struct incoming *job)
{
	job->body = calloc(1, job->bytes + 1);
	if (job->body == NULL || fread(job->body, 1, job->bytes, stdin) != job->bytes)
		_exit(9);
}

static void release(struct process *p)
{
	while (p->n_held > 0) {
		result(p->held[--p->n_held], "done", "");
		free(p->held[p->n_held]);
	}
}

static void cancelled(struct process *p, const char *id)
{
	fprintf(stderr, "cancel %s\n", id);
	for (unsigned i = 0; i < p->n_held && !p->deaf_to_cancel; i++) {
		if (strcmp(p->held[i], id) != 0)
			continue;
		result(id, "return", ", \"reason\": \"asked to stop\"");
		free(p->held[i]);
		p->held[i] = p->held[--p->n_held];
		return;
	}
}

static void lines(const char *line, unsigned times)
{
	while (times-- > 0)
		say("%s\n", line);
}

/* The body is WORD or WORD:NUMBER. */
static void obey(struct process *p, const struct incoming *job)
{
	char word[32] = "";
	unsigned n = 0;
	(void)sscanf(job->body, "%31[a-z-]:%u", word, &n);
#define IS(name) (strcmp(word, name) == 0)
	if (IS("hold")) {
		p->held[p->n_held++] = strdup(job->id);
	} else if (IS("release")) {
		release(p);
		result(job->id, "done", "");
	} else if (IS("retry") || IS("reject") || IS("return")) {
		result(job->id, word, ", \"after_ms\": 1500, \"reason\": \"as told\"");
	} else if (IS("exit")) {
		_exit((int)n);
	} else if (IS("signal")) {
		(void)raise((int)n);
	} else if (IS("answer-exit")) {
		result(job->id, "done", "");
		_exit((int)n);
	} else if (IS("unread-exit")) {
		wait_until_sent_more();
		_exit((int)n);
	} else if (IS("unread-answer-exit")) {
		wait_until_sent_more();
		result(job->id, "done", "");
		_exit((int)n);
	} else if (IS("unread-mute")) {
		wait_until_sent_more();
		(void)close(1);
		(void)usleep(10000); /* the end of its stdout is seen before its own */
		_exit((int)n);
	} else if (IS("rubbish")) {
		lines("this is no JSON", n);
		result(job->id, "done", "");
	} else if (IS("twice")) {
		result(job->id, "done", "");
		result(job->id, "done", "");
	} else if (IS("wrong-reason")) {
		result(job->id, "retry", ", \"reason\": {}");
	} else if (IS("percent")) {
		for (unsigned i = 0; i < n; i++)
			printf("{\"id\":\"%s\",\"progress\":%u}\n", job->id, i + 2);
		result(job->id, "done", "");
	} else if (IS("wrong-id")) {
		result("no-such-job", "done", "");
		result(job->id, "done", "");
	} else if (IS("long")) {
		for (unsigned i = 0; i < n; i++)
			putchar('x');
		say("%s\n", "");
		result(job->id, "done", "");
	} else if (IS("says")) {
		char ready[64];
		(void)snprintf(ready, sizeof ready, "{\"type\":\"ready\",\"concurrency\":%u}", n);
		lines(ready, 1);
		result(job->id, "done", "");
	} else if (IS("facts")) {
		printf("{\"type\":\"progress\",\"id\":\"%s\",\"progress\":0.5,\"note\":\"half\"}\n",
		       job->id);
		printf("{\"type\":\"extend\",\"id\":\"%s\",\"extend_ms\":60000}\n", job->id);
		printf("{\"type\":\"checkpoint\",\"id\":\"%s\",\"checkpoint\":\"page 7\"}\n",
		       job->id);
		printf("{\"type\":\"log\",\"id\":\"%s\",\"level\":\"warn\",\"text\":\"hm\"}\n",
		       job->id);
		fprintf(stderr, "on stderr\n");
		result(job->id, "done", ", \"checkpoint\": \"page 8\"");
	} else if (IS("big-checkpoint")) {
		printf("{\"id\":\"%s\",\"checkpoint\":\"", job->id);
		for (unsigned i = 0; i < n; i++)
			putchar('x');
		say("%s\n", "\"}");
		result(job->id, "done", "");
	} else if (IS("mute")) {
		(void)fclose(stdout);
		wait_for_ever();
	} else if (IS("close-stdin")) {
		(void)close(0);
		result(job->id, "done", "");
	} else if (IS("leave-exit")) { /* somebody who does not heed SIGTERM */
		pid_t pid = fork();
		if (pid == 0) {
			(void)signal(SIGTERM, SIG_IGN);
			wait_for_ever();
		}
		fprintf(stderr, "left %d\n", (int)pid);
		(void)usleep(20000); /* it ignores the signal by then */
		_exit((int)n);
	} else if (IS("complain")) {
		for (unsigned i = 0; i < n; i++)
			fprintf(stderr, "complaint\n");
		result(job->id, "done", "");
	} else if (IS("complain-exit")) {
		fprintf(stderr, "Traceback\nKeyError: 'x'\n");
		_exit((int)n);
	} else if (IS("shut-stdin")) { /* with the next job unread in it */
		wait_until_sent_more();
		(void)close(0);
		fprintf(stderr, "shut\n");
		wait_for_ever();
	} else if (IS("deaf")) {
		wait_for_ever();
	} else if (IS("grow")) {
		p->grown = calloc(1, (size_t)n << 20);
		for (size_t at = 0; at < (size_t)n << 20; at += 4096)
			((volatile char *)p->grown)[at] = 1;
		result(job->id, "done", "");
	} else if (IS("pid")) {
		char reason[64];
		(void)snprintf(reason, sizeof reason, ", \"reason\": \"%d\"", (int)getpid());
		result(job->id, "done", reason);
	} else if (IS("flood")) {
		for (;;)
			puts("{\"type\":\"log\",\"level\":\"debug\",\"text\":\"on and on\"}");
	} else {
		result(job->id, "done", "");
	}
#undef IS
}

/* "early..." is answered before its body is read. */
static void take_job(struct process *p, const json_t *line)
{
	struct incoming job = {
	    .id = json_string_value(json_object_get(line, "id")),
	    .bytes = (size_t)json_integer_value(json_object_get(line, "bytes")),
	};
	const char *queue = json_string_value(json_object_get(line, "queue"));
	if (strcmp(queue, "early") == 0) {
		result(job.id, "done", "");
		(void)usleep(20000);
	}
	read_body(&job);
	if (strcmp(queue, "early") != 0)
		obey(p, &job);
	free(job.body);
	if (++p->done == p->leaves)
		_exit(0);
}

static void take_line(struct process *p, const char *text)
{
	json_t *line = json_loads(text, 0, NULL);
	const char *type = json_string_value(json_object_get(line, "type"));
	if (type == NULL)
		_exit(8);
	if (strcmp(type, "job") == 0)
		take_job(p, line);
	else if (strcmp(type, "cancel") == 0)
		cancelled(p, json_string_value(json_object_get(line, "id")));
	else
		fprintf(stderr, "%s-%lld\n", type,
			(long long)json_integer_value(json_object_get(line, "remaining_ms")));
	json_decref(line);
}

static void start(struct process *p, int argc, char **argv)
{
	unsigned late_ms = 0;
	p->concurrency = 1;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "banner") == 0)
			lines("Scripted 1.0 - not JSON", 30);
		else if (strcmp(argv[i], "never-ready") == 0)
			wait_for_ever();
		else if (strcmp(argv[i], "dies-starting") == 0)
			_exit(4);
		else if (strcmp(argv[i], "deaf-to-cancel") == 0)
			p->deaf_to_cancel = true;
		else if (strcmp(argv[i], "stubborn") == 0)
			p->stubborn = true;
		else if (strcmp(argv[i], "reads-by-byte") == 0)
			(void)setvbuf(stdin, NULL, _IONBF, 0);
		else if (sscanf(argv[i], "concurrency=%u", &p->concurrency) +
			     sscanf(argv[i], "late=%u", &late_ms) +
			     sscanf(argv[i], "lingers=%u", &p->lingers_ms) +
			     sscanf(argv[i], "leaves=%u", &p->leaves) !=
			 1)
			_exit(7);
	}
	(void)usleep(late_ms * 1000);
	printf("{\"type\": \"ready\", \"concurrency\": %u}\n", p->concurrency);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct process p;
	char *text = NULL;
	size_t room = 0;
	start(&p, argc, argv);
	while (getline(&text, &room, stdin) > 0)
		take_line(&p, text);
	free(text);
	if (p.stubborn)
		wait_for_ever();
	(void)usleep(p.lingers_ms * 1000);
	if (p.lingers_ms > 0)
		fprintf(stderr, "flushed\n");
	return 0;
}
