/* What the agent check says in each state, and that whoever comes gets it. */
#include "admin/agent.h"

#include "../small_core.h"
#include "admin/listener.h"
#include "loop/loop.h"
#include "observe/view.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../cmocka_names.h"

static void look(void *arg, struct view *ret_view)
{
	struct small_core *s = arg;
	*ret_view = (struct view){.core = &s->core, .name = "w", .now_ns = s->now_ns};
}

static void expect(struct small_core *s, const char *wanted)
{
	struct text line = {0};
	struct view view;
	look(s, &view);
	agent_say(&line, &view);
	assert_int_equal(line.len, strlen(wanted));
	assert_memory_equal(line.bytes, wanted, line.len);
	text_fini(&line);
}

static void the_line_follows_the_state(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	struct budget *budget = &s.core.dispatch.budget;
	budget->limit = 8;
	expect(&s, "up ready 100%\n");
	budget->taken = 3;
	expect(&s, "up ready 62%\n");
	budget->taken = 8;
	expect(&s, "up ready 1%\n"); /* 0 would be "drain" to HAProxy */
	budget->taken = 0;
	s.source.intake = INTAKE_OPENING;
	struct text line = {0};
	struct view view;
	look(&s, &view);
	agent_say(&line, &view);
	assert_memory_equal(line.bytes, "down#", 5);
	text_fini(&line);
	s.source.intake = INTAKE_OPEN;
	core_event(&s.core, EVENT_QUIET, "SIGTSTP");
	expect(&s, "drain\n");
	core_event(&s.core, EVENT_RESUME, "SIGCONT");
	expect(&s, "up ready 100%\n");
	core_event(&s.core, EVENT_STOP, "SIGTERM");
	expect(&s, "drain\n");
	small_core_fini(&s);
}

static void stop(void *arg)
{
	loop_stop(arg);
}

static void whoever_comes_gets_it(void **state)
{
	(void)state;
	struct small_core s;
	struct loop *loop;
	struct agent *agent;
	struct error why;
	int fd;
	char bound[80], got[64] = "";
	small_core_init(&s, 0, "emails");
	assert_int_equal(loop_create(&loop, &why), ST_OK);
	assert_int_equal(
	    listener_open_tcp("admin.agent", "127.0.0.1:0", &fd, bound, sizeof bound, &why), ST_OK);
	assert_int_equal(agent_open(loop, NULL, fd, look, &s, &agent, &why), ST_OK);
	int clients[40];
	for (size_t i = 0; i < 40; i++) {
		struct sockaddr_in to = {.sin_family = AF_INET,
					 .sin_port =
					     htons((uint16_t)atoi(strrchr(bound, ':') + 1))};
		to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(clients[i], (struct sockaddr *)&to, sizeof to), 0);
		if (i % 2 == 0) /* agent-send */
			assert_int_equal(send(clients[i], "hello\n", 6, 0), 6);
	}
	struct timer *timer = timer_create_on(loop, stop, loop);
	timer_start(timer, 50);
	loop_run(loop);
	for (size_t i = 0; i < 40; i++) {
		ssize_t n = recv(clients[i], got, sizeof got - 1, 0);
		assert_true(n > 0);
		got[n] = '\0';
		assert_memory_equal(got, "up ready ", 9);
		assert_int_equal(recv(clients[i], got, sizeof got, 0), 0);
		assert_int_equal(close(clients[i]), 0);
	}
	timer_destroy(timer);
	agent_close(agent);
	loop_destroy(loop);
	small_core_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_line_follows_the_state),
	    cmocka_unit_test(whoever_comes_gets_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
