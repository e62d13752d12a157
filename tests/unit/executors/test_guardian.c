/* guardian - which of the groups it knows are killed, and whose number is somebody else's by now. */
#include "executors/child/guardian.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum group { ALONE, WITH_ANOTHER };

struct scene {
	struct guardian *guardian;
	uint32_t place;
	pid_t leader;
	int held; /* the end of a pipe, whose other end each of the group holds */
};

static _Noreturn void lead(int held, enum group group)
{
	(void)setpgid(0, 0);
	(void)!write(held, "x", 1);
	if (group == WITH_ANOTHER && fork() != 0)
		_exit(0);
	for (;;)
		(void)pause();
}

/* A group, entered as a child enters itself. */
static void open_scene(struct scene *s, enum group group)
{
	int ends[2];
	char byte;
	s->guardian = guardian_create();
	assert_non_null(s->guardian);
	s->place = guardian_take_place(s->guardian);
	assert_int_not_equal(s->place, GUARDIAN_NO_PLACE);
	assert_int_equal(pipe(ends), 0);
	s->leader = fork();
	if (s->leader == 0)
		lead(ends[1], group);
	(void)close(ends[1]);
	s->held = ends[0];
	assert_int_equal(read(s->held, &byte, 1), 1);
	guardian_enter(s->guardian, s->place, s->leader);
}

static void close_scene(struct scene *s)
{
	(void)kill(-s->leader, SIGKILL);
	(void)waitpid(s->leader, NULL, 0);
	(void)close(s->held);
	guardian_destroy(s->guardian);
}

static void assert_leader_lives(const struct scene *s)
{
	siginfo_t info = {0};
	assert_int_equal(waitid(P_PID, (id_t)s->leader, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	assert_int_equal(info.si_pid, 0);
}

static void whoever_is_in_a_group_is_killed(void **state)
{
	(void)state;
	struct scene s;
	char byte;
	open_scene(&s, WITH_ANOTHER);
	guardian_kill_all(s.guardian);
	assert_int_equal(read(s.held, &byte, 1), 0); /* the last one has gone */
	close_scene(&s);
}

static void who_is_left_without_a_leader_is_killed(void **state)
{
	(void)state;
	struct scene s;
	char byte;
	open_scene(&s, WITH_ANOTHER);
	assert_int_equal(waitpid(s.leader, NULL, 0), s.leader);
	guardian_note_leaderless(s.guardian, s.place);
	guardian_kill_all(s.guardian);
	assert_int_equal(read(s.held, &byte, 1), 0);
	close_scene(&s);
}

/* SIGKILL is on its way when kill() returns: it would be dead before another that is killed after it. */
static void kill_all_and_see(const struct scene *s)
{
	guardian_kill_all(s->guardian);
	pid_t after = fork();
	if (after == 0)
		for (;;)
			(void)pause();
	(void)kill(after, SIGKILL);
	assert_int_equal(waitpid(after, NULL, 0), after);
	assert_leader_lives(s);
}

static void a_group_that_has_left_is_spared(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s, ALONE);
	guardian_leave(s.guardian, s.place);
	kill_all_and_see(&s);
	assert_int_equal(guardian_take_place(s.guardian), s.place); /* used again */
	close_scene(&s);
}

/* Its leader was reaped, and the number is a process again: somebody's who has nothing to do with us. */
static void a_number_that_is_somebody_elses_is_spared(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s, ALONE);
	guardian_note_leaderless(s.guardian, s.place);
	kill_all_and_see(&s);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whoever_is_in_a_group_is_killed),
	    cmocka_unit_test(who_is_left_without_a_leader_is_killed),
	    cmocka_unit_test(a_group_that_has_left_is_spared),
	    cmocka_unit_test(a_number_that_is_somebody_elses_is_spared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
