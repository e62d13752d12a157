/* hosts: which address comes next, when it is time to wait, and what a file that changes does. */
#include "sources/hosts.h"

#include "settings/settings.h"
#include "sources/kind.h"
#include "sources/rabbitmq/rabbitmq.h"
#include "sources/redis/redis_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../cmocka_names.h"

#define SECOND UINT64_C(1000000000)

static const char *urls[] = {"amqp://u:one@a", "amqp://u:one@b", "amqps://u:one@c:7", NULL};
static const char *bare[] = {"amqp://u@a", "amqp://u@b", "amqps://u@c:7", NULL};

static struct hosts hosts_of(const struct broker_settings *broker, uint32_t random)
{
	struct hosts hosts;
	assert_int_equal(hosts_init(&hosts, broker, NULL, "s", random), ST_OK);
	return hosts;
}

static const struct url *next(struct hosts *hosts)
{
	const struct url *url = NULL;
	struct error why;
	hosts_read_now(hosts);
	assert_int_equal(hosts_next(hosts, &url, &why), ST_OK);
	return url;
}

static void each_comes_once_in_a_round(void **state)
{
	static const char *plain[] = {"amqp://a", "amqp://b", "amqp://c", NULL};
	static const struct broker_settings broker = {.urls = plain, .n_urls = 3};
	unsigned first[3] = {0};
	(void)state;
	for (uint32_t random = 0; random < 300; random++) {
		struct hosts hosts = hosts_of(&broker, random * 2654435761u);
		char round[4] = "", again[4] = "";
		for (int i = 0; i < 3; i++)
			round[i] = next(&hosts)->host[0];
		for (int i = 0; i < 3; i++)
			again[i] = next(&hosts)->host[0];
		assert_string_equal(round, again);
		assert_true(strchr(round, 'a') && strchr(round, 'b') && strchr(round, 'c'));
		first[round[0] - 'a']++;
		hosts_fini(&hosts);
	}
	for (int i = 0; i < 3; i++)
		assert_int_in_range(first[i], 70, 130); /* a fleet spreads */
}

/* Rows: how long the try had worked (0: not at all), and whether to wait after it. */
static void waits_when_all_have_failed(void **state)
{
	static const struct broker_settings broker = {.urls = urls, .n_urls = 3};
	static const struct {
		uint64_t up_s;
		bool wait, steady;
	} rows[] = {
	    {0,  false, false},
            {0,  false, false},
            {0,  true,  false},
            {0,  false, false},
	    {60, false, true }, /* it had worked: a new round, and the others are asked at once */
	    {0,  false, false},
            {0,  true,  false},
            {1,  false, false}, /* let in and thrown out: no end of a round */
	    {1,  false, false},
            {1,  true,  false},
	};
	(void)state;
	struct hosts hosts = hosts_of(&broker, 1);
	uint64_t now = SECOND;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool steady;
		(void)next(&hosts);
		if (rows[i].up_s > 0)
			hosts_worked(&hosts, now);
		now += rows[i].up_s * SECOND;
		if (hosts_failed(&hosts, now, &steady) != rows[i].wait || steady != rows[i].steady)
			fail_msg("row %zu", i);
	}
	hosts_fini(&hosts);
}

static void one_alone_waits_each_time(void **state)
{
	static const struct broker_settings broker = {.urls = urls, .n_urls = 1};
	(void)state;
	struct hosts hosts = hosts_of(&broker, 1);
	for (int i = 0; i < 3; i++) {
		bool steady;
		(void)next(&hosts);
		assert_true(hosts_failed(&hosts, SECOND, &steady));
	}
	hosts_fini(&hosts);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void passwords_are_those_of_now(void **state)
{
	char path[] = "/tmp/outfall-test-XXXXXX";
	int fd = mkstemp(path);
	struct broker_settings broker = {.schema = &rabbitmq_kind.schema,
					 .urls = urls,
					 .bare_urls = bare,
					 .n_urls = 1,
					 .password_file = path};
	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	struct hosts hosts = hosts_of(&broker, 1);
	assert_string_equal(next(&hosts)->password, "one"); /* empty: as loaded */
	write_file(path, "two\n");
	assert_string_equal(next(&hosts)->password, "two");
	assert_int_equal(unlink(path), 0);
	assert_string_equal(next(&hosts)->password, "two");
	char text[64];
	hosts_redacted(&hosts, text, sizeof text);
	assert_string_equal(text, "amqp://u:***@a");
	hosts_fini(&hosts);
}

static void a_move_is_counted(void **state)
{
	static const char *one[] = {"redis://h/0", NULL};
	char path[] = "/tmp/outfall-test-XXXXXX";
	int fd = mkstemp(path);
	struct broker_settings broker = {.schema = &redis_kind.schema,
					 .urls = one,
					 .bare_urls = one,
					 .n_urls = 1,
					 .url_file = path};
	static const struct {
		const char *url;
		unsigned moves;
	} rows[] = {
	    {"redis://h/0",      0},
            {"redis://:pw@h/0",  0}, /* another login is no other place */
	    {"redis://h:7000/0", 1},
            {"redis://h2:7000",  2},
            {"unix:///run/a",    3},
	    {"unix:///run/a",    3},
            {"unix:///run/b",    4},
	};
	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	write_file(path, one[0]);
	struct hosts hosts = hosts_of(&broker, 1);
	(void)next(&hosts);
	unsigned first = hosts.place;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		write_file(path, rows[i].url);
		(void)next(&hosts);
		assert_int_equal(hosts.place - first, rows[i].moves);
	}
	assert_int_equal(unlink(path), 0);
	hosts_fini(&hosts);
}

static void only_tls_addresses_have_it(void **state)
{
	static const struct broker_settings broker = {.urls = urls, .n_urls = 3};
	(void)state;
	struct hosts hosts = hosts_of(&broker, 1);
	hosts.dead_after_ms = 1234;
	for (int i = 0; i < 3; i++) {
		const struct url *url = next(&hosts);
		struct address to = hosts_address(&hosts);
		assert_string_equal(to.host, url->host);
		assert_int_equal(to.port, url->port);
		assert_int_equal(to.dead_after_ms, 1234);
		assert_int_equal(to.tls != NULL, url->scheme == URL_AMQPS);
	}
	hosts_fini(&hosts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_comes_once_in_a_round),
	    cmocka_unit_test(waits_when_all_have_failed),
	    cmocka_unit_test(one_alone_waits_each_time),
	    cmocka_unit_test(passwords_are_those_of_now),
	    cmocka_unit_test(a_move_is_counted),
	    cmocka_unit_test(only_tls_addresses_have_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
