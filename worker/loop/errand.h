/* errand - a call that may block for as long as it likes, on a thread of its own, for a loop that may not.
 *
 * Thread: the loop's, but for `run`, and for `drop` when the errand was given up.
 * Owns:   an errand belongs to whoever started it, until `done` or errand_give_up(). Its `arg` is the
 *         thread's while it runs, and from then on whoever is called has it: `done`, or `drop`.
 * Fails:  errand_start() with NULL for lack of memory or of a thread. */
#ifndef OUTFALL_LOOP_ERRAND_H
#define OUTFALL_LOOP_ERRAND_H

struct errand;
struct loop;

struct errand_calls {
	void (*run)(void *arg);  /* on the thread */
	void (*done)(void *arg); /* on the loop, after it */
	void (*drop)(void *arg); /* instead of `done`, after it: nobody wants it any more */
};

struct errand *errand_start(struct loop *loop, const struct errand_calls *calls, void *arg);

/* `done` will not be called. The thread is left to itself. NULL is fine. */
void errand_give_up(struct errand *errand);

#endif
