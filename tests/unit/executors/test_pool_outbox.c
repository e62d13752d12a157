/* What a process reads must be the lines and bodies in the order they were put in, whatever the pieces are in
 * which its pipe takes them, and without those that were taken back. */
#include "executors/pool/pool_outbox.h"

#include "base/memory.h"
#include "dispatch/routes.h"
#include "executors/child/child_told.h"
#include "job/job.h"
#include "sources/source.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 64 };

struct desk {
	struct source source;
	struct route route;
	struct outbox outbox;
	struct letter letters[MOST];
	struct job *jobs[MOST];
	int to, from; /* a pipe of one page */
	struct text expected, got;
	unsigned seed;
};

static void open_desk(struct desk *d, unsigned seed)
{
	int ends[2];
	*d = (struct desk){.seed = seed};
	d->source.name = "main";
	d->route.name = "emails";
	d->route.source = &d->source;
	d->route.source_name = "main";
	outbox_init(&d->outbox);
	for (int i = 0; i < MOST; i++)
		list_init(&d->letters[i].in_outbox);
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 0);
	d->from = ends[0];
	d->to = ends[1];
}

static void close_desk(struct desk *d)
{
	for (int i = 0; i < MOST; i++)
		job_destroy(d->jobs[i]);
	outbox_fini(&d->outbox);
	text_fini(&d->expected);
	text_fini(&d->got);
	close(d->from);
	close(d->to);
}

static unsigned chance(struct desk *d, unsigned below)
{
	return (unsigned)rand_r(&d->seed) % below;
}

static struct job *make_job(struct desk *d, int number, size_t bytes)
{
	char id[16];
	(void)snprintf(id, sizeof id, "%d", number);
	struct job_facts facts = {
	    .route = &d->route, .attempt = 1, .id = span_text(id), .body_bytes = bytes};
	struct job *job = job_create(&facts);
	assert_non_null(job);
	memset(job_body(job), 'a' + number % 26, bytes);
	return job;
}

static void put(struct desk *d, int i)
{
	static const size_t sizes[] = {0, 1, 100, 4096, 4097, 5000, 20000};
	d->jobs[i] = make_job(d, i, sizes[chance(d, sizeof sizes / sizeof *sizes)]);
	assert_true(outbox_put_job(&d->outbox, &d->letters[i], d->jobs[i], 0));
}

/* What is still unbegun may be taken back; the rest is expected. */
static void expect(struct desk *d, int i)
{
	assert_int_equal(d->letters[i].at, d->expected.len);
	child_told_job(&d->expected, d->jobs[i], 0);
	text_put(&d->expected, d->jobs[i]->body);
}

static void read_some(struct desk *d)
{
	char bytes[4096];
	ssize_t n = read(d->from, bytes, 1 + chance(d, sizeof bytes));
	if (n > 0)
		text_put(&d->got, span_of(bytes, (size_t)n));
}

static void finish(struct desk *d)
{
	size_t bytes;
	enum status st;
	while ((st = outbox_write(&d->outbox, d->to, &bytes)) != ST_OK) {
		assert_int_equal(st, ST_AGAIN);
		read_some(d);
	}
	size_t before;
	do {
		before = d->got.len;
		read_some(d);
	} while (d->got.len != before);
	assert_true(outbox_is_empty(&d->outbox));
	assert_int_equal(d->got.len, d->expected.len);
	assert_memory_equal(d->got.bytes, d->expected.bytes, d->got.len);
}

static void whatever_the_pieces(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 200; seed++) {
		struct desk d;
		size_t bytes;
		open_desk(&d, seed);
		int taken_back[MOST] = {0};
		for (int i = 0; i < MOST; i++) {
			put(&d, i);
			if (chance(&d, 4) == 0)
				(void)outbox_write(&d.outbox, d.to, &bytes);
			if (chance(&d, 3) == 0)
				read_some(&d);
			int victim = (int)chance(&d, (unsigned)i + 1);
			if (chance(&d, 4) == 0 && !taken_back[victim] &&
			    outbox_is_unbegun(&d.outbox, &d.letters[victim])) {
				outbox_take_back(&d.outbox, &d.letters[victim]);
				taken_back[victim] = 1;
			}
			/* What was answered early: its bytes are written all the same. */
			if (!taken_back[i] && !outbox_holds(&d.letters[i]) &&
			    !outbox_is_unbegun(&d.outbox, &d.letters[i]) && chance(&d, 8) == 0)
				outbox_forget(&d.letters[i]);
		}
		for (int i = 0; i < MOST; i++)
			if (!taken_back[i])
				expect(&d, i);
		finish(&d);
		for (int i = 0; i < MOST; i++)
			assert_false(outbox_holds(&d.letters[i]));
		close_desk(&d);
	}
}

static void a_large_body_is_held_until_its_last_byte(void **state)
{
	(void)state;
	struct desk d;
	size_t bytes;
	open_desk(&d, 1);
	d.jobs[0] = make_job(&d, 0, 50000);
	d.jobs[1] = make_job(&d, 1, 10);
	assert_true(outbox_put_job(&d.outbox, &d.letters[0], d.jobs[0], 0));
	assert_true(outbox_put_job(&d.outbox, &d.letters[1], d.jobs[1], 0));
	assert_true(outbox_is_unbegun(&d.outbox, &d.letters[0]));
	assert_int_equal(outbox_write(&d.outbox, d.to, &bytes), ST_AGAIN);
	assert_false(outbox_is_unbegun(&d.outbox, &d.letters[0]));
	assert_true(outbox_holds(&d.letters[0]));
	assert_true(outbox_is_unbegun(&d.outbox, &d.letters[1]));
	assert_false(outbox_holds(&d.letters[1])); /* copied */
	expect(&d, 0);
	expect(&d, 1);
	finish(&d);
	assert_false(outbox_holds(&d.letters[0]));
	close_desk(&d);
}

static void notices_keep_their_place(void **state)
{
	(void)state;
	struct desk d;
	open_desk(&d, 2);
	put(&d, 0);
	put(&d, 1);
	assert_true(outbox_put_drain(&d.outbox, 5));
	put(&d, 2);
	assert_true(outbox_put_cancel(&d.outbox, d.jobs[0]));
	outbox_take_back(&d.outbox, &d.letters[1]);
	expect(&d, 0);
	child_told_drain(&d.expected, 5);
	expect(&d, 2);
	child_told_cancel(&d.expected, d.jobs[0]);
	finish(&d);
	close_desk(&d);
}

static void without_memory_nothing_is_put_in(void **state)
{
	(void)state;
	for (unsigned long n = 1;; n++) {
		struct desk d;
		open_desk(&d, 3);
		d.jobs[0] = make_job(&d, 0, 3000);
		(void)memory_fail_at(n);
		bool put_in = outbox_put_job(&d.outbox, &d.letters[0], d.jobs[0], 0);
		bool all = memory_fail_at(0) < n;
		assert_true(put_in || outbox_is_empty(&d.outbox));
		if (put_in)
			expect(&d, 0);
		finish(&d);
		close_desk(&d);
		if (all)
			break;
	}
}

static void nobody_reads(void **state)
{
	(void)state;
	struct desk d;
	size_t bytes;
	open_desk(&d, 4);
	put(&d, 0);
	close(d.from);
	assert_int_equal(outbox_write(&d.outbox, d.to, &bytes), ST_CLOSED);
	outbox_drop_all(&d.outbox);
	assert_true(outbox_is_empty(&d.outbox));
	assert_false(outbox_holds(&d.letters[0]));
	d.from = -1;
	close_desk(&d);
}

static int ignore_sigpipe(void **state)
{
	(void)state;
	return signal(SIGPIPE, SIG_IGN) == SIG_ERR;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whatever_the_pieces),
	    cmocka_unit_test(a_large_body_is_held_until_its_last_byte),
	    cmocka_unit_test(notices_keep_their_place),
	    cmocka_unit_test(without_memory_nothing_is_put_in),
	    cmocka_unit_test(nobody_reads),
	};
	return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
