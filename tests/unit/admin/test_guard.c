/* Who may ask what: hosts, origins, tokens. */
#include "admin/guard.h"

#include "admin/handshake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TOKEN "0123456789abcdef"

static const char *const hosts[] = {"worker.example", NULL};
static const struct gate unix_gate = {.is_unix = true};
static const struct gate tcp_gate = {.hosts = hosts};
static const struct gate token_gate = {.hosts = hosts, .token = TOKEN};

static void test_hosts(void **state)
{
	(void)state;
	static const struct {
		const char *host;
		enum guard_word tcp;
	} rows[] = {
	    {NULL,		     GUARD_PASS        },
	    {"127.0.0.1",              GUARD_PASS        },
	    {"127.0.0.1:9180",         GUARD_PASS        },
	    {"10.1.2.3:80",            GUARD_PASS        },
	    {"[::1]:9180",             GUARD_PASS        },
	    {"[::1]",                  GUARD_PASS        },
	    {"localhost",              GUARD_PASS        },
	    {"LocalHost:9180",         GUARD_PASS        },
	    {"worker.example",         GUARD_PASS        },
	    {"Worker.Example:1",       GUARD_PASS        },
	    {"evil.example",           GUARD_FOREIGN_HOST},
	    {"evil.example:9180",      GUARD_FOREIGN_HOST},
	    {"127.0.0.1.evil.example", GUARD_FOREIGN_HOST},
	    {"localhost.evil.example", GUARD_FOREIGN_HOST},
	    {"worker.example.",        GUARD_FOREIGN_HOST},
	    {"evil.example@localhost", GUARD_FOREIGN_HOST},
	    {"localhost:evil",         GUARD_FOREIGN_HOST},
	    {"localhost:1:2",          GUARD_FOREIGN_HOST},
	    {"[evil]:1",               GUARD_FOREIGN_HOST},
	    {"[::1",                   GUARD_FOREIGN_HOST},
	    {"[::1]x",                 GUARD_FOREIGN_HOST},
	    {"::1",		    GUARD_FOREIGN_HOST},
	    {":80",		    GUARD_FOREIGN_HOST},
	    {"",		       GUARD_FOREIGN_HOST},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct request r = {.method = "GET", .path = "/", .host = rows[i].host};
		if (guard_check(&tcp_gate, &r) != rows[i].tcp)
			fail_msg("%s", rows[i].host);
		assert_int_equal(guard_check(&unix_gate, &r), GUARD_PASS);
	}
}

static void test_origins(void **state)
{
	(void)state;
	static const struct {
		const char *origin, *host;
		enum guard_word want;
	} rows[] = {
	    {NULL,		     "localhost:9180", GUARD_PASS          },
	    {"http://localhost:9180",  "localhost:9180", GUARD_PASS          },
	    {"https://LOCALHOST:9180", "localhost:9180", GUARD_PASS          },
	    {"http://localhost",       "localhost",      GUARD_PASS          },
	    {"http://localhost:9181",  "localhost:9180", GUARD_FOREIGN_ORIGIN},
	    {"http://127.0.0.1:9180",  "localhost:9180", GUARD_FOREIGN_ORIGIN},
	    {"http://evil.example",    "localhost:9180", GUARD_FOREIGN_ORIGIN},
	    {"null",                   "localhost:9180", GUARD_FOREIGN_ORIGIN},
	    {"",		       "localhost:9180", GUARD_FOREIGN_ORIGIN},
	    {"file://",                "localhost:9180", GUARD_FOREIGN_ORIGIN},
	    {"http://",                "localhost:9180", GUARD_FOREIGN_ORIGIN},
	    {"http://localhost:9180",  NULL,             GUARD_FOREIGN_ORIGIN},
	    {"http://localhost:9180/", "localhost:9180", GUARD_FOREIGN_ORIGIN},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct request post = {
		    .method = "POST", .origin = rows[i].origin, .host = rows[i].host};
		struct request feed = {.method = "GET",
				       .upgrade = "websocket",
				       .origin = rows[i].origin,
				       .host = rows[i].host};
		struct request get = {
		    .method = "GET", .origin = rows[i].origin, .host = rows[i].host};
		if (guard_check(&unix_gate, &post) != rows[i].want)
			fail_msg("POST by %s to %s", rows[i].origin, rows[i].host);
		if (guard_check(&tcp_gate, &feed) != rows[i].want)
			fail_msg("feed by %s to %s", rows[i].origin, rows[i].host);
		assert_int_equal(guard_check(&tcp_gate, &get),
				 GUARD_PASS); /* the browser hides it */
	}
}

static void test_tokens(void **state)
{
	(void)state;
	static const struct {
		const char *authorization;
		bool right;
	} rows[] = {
	    {"Bearer " TOKEN,           true },
	    {"bearer " TOKEN,           true },
	    {NULL,		      false},
	    {"",			false},
	    {"Bearer",                  false},
	    {"Bearer ",                 false},
	    {TOKEN,		     false},
	    {"Basic " TOKEN,            false},
	    {"Bearer  " TOKEN,          false},
	    {"Bearer " TOKEN "x",       false},
	    {"Bearer " TOKEN TOKEN,     false},
	    {"Bearer 0123456789abcde",  false},
	    {"Bearer 1123456789abcdef", false},
	    {"Bearer 0123456789abcdeg", false},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct request r = {.method = "POST", .authorization = rows[i].authorization};
		if (guard_token_matches(TOKEN, r.authorization) != rows[i].right)
			fail_msg("%s", r.authorization);
		assert_int_equal(guard_check(&token_gate, &r),
				 rows[i].right ? GUARD_PASS : GUARD_NO_TOKEN);
		assert_int_equal(guard_check(&tcp_gate, &r), GUARD_READ_ONLY);
		assert_int_equal(guard_check(&unix_gate, &r), GUARD_PASS);
	}
	assert_false(guard_token_matches("", "Bearer "));
}

/* Whatever the method is called: only GET and HEAD read. */
static void test_methods(void **state)
{
	(void)state;
	static const char *const steering[] = {"POST", "PUT", "DELETE", "OPTIONS", "get", "X", ""};
	for (size_t i = 0; i < sizeof steering / sizeof *steering; i++)
		assert_int_equal(guard_check(&tcp_gate, &(struct request){.method = steering[i]}),
				 GUARD_READ_ONLY);
	assert_int_equal(guard_check(&tcp_gate, &(struct request){.method = "HEAD"}), GUARD_PASS);
}

static void test_handshake(void **state)
{
	(void)state;
	static const char *const wrong[] = {"",
					    "dGhlIHNhbXBsZSBub25jZQ=",
					    "dGhlIHNhbXBsZSBub25jZQ===",
					    "dGhlIHNhbXBsZSBub25!ZQ==",
					    "dGhlIHNhbXBsZSBub25jZQAA",
					    "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ=="};
	char accept[HANDSHAKE_ACCEPT_BYTES];
	assert_true(handshake_accept("dGhlIHNhbXBsZSBub25jZQ==", accept)); /* RFC 6455, 1.3 */
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		if (handshake_accept(wrong[i], accept))
			fail_msg("\"%s\" is taken for a key", wrong[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hosts),     cmocka_unit_test(test_origins),
	    cmocka_unit_test(test_tokens),    cmocka_unit_test(test_methods),
	    cmocka_unit_test(test_handshake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
