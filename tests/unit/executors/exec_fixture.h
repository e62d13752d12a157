/* exec_fixture - an exec handler with real children under a fake host.
 *
 * Thread: the test's.
 * Owns:   all it opened, until close_fixture(), which also finds processes that are left.
 * Fails:  the test, by assertion. */
#ifndef OUTFALL_TESTS_EXEC_FIXTURE_H
#define OUTFALL_TESTS_EXEC_FIXTURE_H

#include "fake_host.h"

#include "executors/child/children.h"
#include "executors/exec/exec.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>

static const struct worker_settings worker = {.concurrency = 4, .max_checkpoint_bytes = 1 << 16};

struct fixture {
	struct fake_host fake;
	struct children *children;
	struct handler_settings handler;
	const char *command[4];
};

static inline void open_fixture(struct fixture *f, const char *program, const char *script)
{
	*f = (struct fixture){0};
	f->command[0] = program;
	f->command[1] = script ? "-c" : NULL;
	f->command[2] = script;
	f->handler = (struct handler_settings){
	    .name = "mailer",
	    .command = f->command,
	    .timeout_ms = 30000,
	    .output_line_bytes = 64,
	};
	fake_host_open(&f->fake);
	assert_int_equal(children_create(f->fake.loop, f->fake.log, &f->children, NULL), ST_OK);
	assert_int_equal(exec_executor_create(f->fake.loop, f->fake.log, f->children, &f->handler,
					      &worker, &f->fake.host, &f->fake.executor, NULL),
			 ST_OK);
}

static inline void open_shell(struct fixture *f, const char *script)
{
	open_fixture(f, "/bin/sh", script);
}

static inline void close_fixture(struct fixture *f)
{
	f->fake.executor->ops->destroy(f->fake.executor);
	children_destroy(f->children);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie, and nobody left running */
	assert_int_equal(errno, ECHILD);
	fake_host_close(&f->fake);
}

static inline void run_one(struct fixture *f, const char *body)
{
	unsigned ends = f->fake.finished + f->fake.retracted + f->fake.not_begun +
			1; /* it may end within start() */
	fake_start(&f->fake, fake_job(&f->fake, body, strlen(body)));
	fake_run_until(&f->fake, ends);
}

static inline bool has_logged(void *arg)
{
	struct fake_host *fake = arg;
	return lseek(fake->log_fd, 0, SEEK_END) > 0;
}

static inline void start_and_hear(struct fixture *f, struct job **ret_job)
{
	*ret_job = fake_job(&f->fake, "", 0);
	fake_start(&f->fake, *ret_job);
	fake_run_while_not(&f->fake, has_logged, &f->fake); /* its traps are set by now */
}

static inline void stop(struct fixture *f, struct job *job, enum stop_how how)
{
	f->fake.executor->ops->stop(f->fake.executor, job, how);
}

#endif
