/* hooks - a plugin that writes down in which order its functions are called. It finds the record by
 * the address in the environment variable OUTFALL_TEST_HOOKS. */
#ifndef OUTFALL_TESTS_HOOKS_H
#define OUTFALL_TESTS_HOOKS_H

#include <pthread.h>

struct hook_record {
	int init_fails;
	int thread_init_fails_at; /* the n-th call; 0: never */
	const char *reason;       /* when one of them fails; may be NULL */
	/* Set by the plugin. */
	pthread_mutex_t lock;
	char calls[64]; /* a letter for each: i, I, r, E, e (capital: of a thread) */
	unsigned n_calls;
	unsigned threads_entered;
	unsigned wrong_threads; /* run() without thread_init(), or thread_exit() on another */
};

#endif
