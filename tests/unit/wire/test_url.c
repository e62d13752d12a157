/* url: cases as rows. */
#include "wire/url.h"

#include "settings/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *text;
	struct url want;
} good[] = {
    {"amqp://",									      {.scheme = URL_AMQP, .host = "localhost", .port = 5672}             },
    {"amqp://mq1",									   {.scheme = URL_AMQP, .host = "mq1", .port = 5672}                   },
    {"amqp://mq1/",									  {.scheme = URL_AMQP, .host = "mq1", .port = 5672, .path = ""}       },
    {"amqp://mq1/%2f",								       {.scheme = URL_AMQP, .host = "mq1", .port = 5672, .path = "/"}      },
    {"amqp://mq1/a/b",								       {.scheme = URL_AMQP, .host = "mq1", .port = 5672, .path = "a/b"}    },
    {"amqps://u:p@mq1:1/v",
     {.scheme = URL_AMQPS, .user = "u", .password = "p", .host = "mq1", .port = 1, .path = "v"}                                                                  },
    {"amqp://u@mq1",									 {.scheme = URL_AMQP, .user = "u", .host = "mq1", .port = 5672}      },
    {"amqp://u:@mq1",
     {.scheme = URL_AMQP, .user = "u", .password = "", .host = "mq1", .port = 5672}                                                                              },
    {"redis://:p@/2",
     {.scheme = URL_REDIS,
      .user = "",
      .password = "p",
      .host = "localhost",
      .port = 6379,
      .path = "2"}																	       },
    {"redis://:p%40%3A%2f%25@h:65535",
     {.scheme = URL_REDIS, .user = "", .password = "p@:/%", .host = "h", .port = 65535}                                                                          },
    {"redis://u%3a:p@q@h",
     {.scheme = URL_REDIS, .user = "u:", .password = "p@q", .host = "h", .port = 6379}                                                                           },
    {"rediss://[::1]",								       {.scheme = URL_REDISS, .host = "::1", .port = 6379}                 },
    {"redis://[fe80::1%25eth0]:7000/0",
     {.scheme = URL_REDIS, .host = "fe80::1%eth0", .port = 7000, .path = "0"}										    },
    {"redis://:7000",									{.scheme = URL_REDIS, .host = "localhost", .port = 7000}            },
    {"redis://h/1?a=%20b",
     {.scheme = URL_REDIS, .host = "h", .port = 6379, .path = "1", .query = "a=%20b"}                                                                            },
    {"unix:///run/redis.sock",							       {.scheme = URL_UNIX, .path = "/run/redis.sock"}                     },
    {"unix://u:p@/run/my%20redis.sock?db=3",
     {.scheme = URL_UNIX,
      .user = "u",
      .password = "p",
      .path = "/run/my redis.sock",
      .query = "db=3"}																	   },
    {"redis+sentinel://a/m",								 {.scheme = URL_SENTINEL, .host = "a", .port = 26379, .service = "m"}},
    {"rediss+sentinel://u:p@a:1,[::1]:2,c/m%2f1/3?sentinel_user=x&sentinel_password=y%26@z",
     {.scheme = URL_SENTINELS,
      .user = "u",
      .password = "p",
      .host = "a:1,[::1]:2,c",
      .port = 26379,
      .path = "3",
      .service = "m/1",
      .sentinel_user = "x",
      .sentinel_password = "y&@z"}															       },
    {"redis+cluster://u:p@a:1,b",
     {.scheme = URL_CLUSTER, .user = "u", .password = "p", .host = "a:1,b", .port = 6379}                                                                        },
    {"http://127.0.0.1:8000/jobs",
     {.scheme = URL_HTTP, .host = "127.0.0.1", .port = 8000, .path = "jobs"}										     },
    {"https://u:p@h?x=1",
     {.scheme = URL_HTTPS, .user = "u", .password = "p", .host = "h", .port = 443, .query = "x=1"}                                                               },
};

static const struct {
	const char *text, *says;
} bad[] = {
    {"",						"must begin with"                         },
    {"mq1:5672",					"must begin with"                         },
    {"ftp://mq1",				       "must begin with"                         },
    {"AMQP://mq1",				      "must begin with"                         },
    {"amqp://mq1:",				     "port"				    },
    {"amqp://mq1:0",				    "port"				    },
    {"amqp://mq1:65536",				"port"				    },
    {"amqp://mq1:99999999999999999999",                 "port"                                    },
    {"amqp://mq1:56x",				  "port"				    },
    {"amqp://mq1:-1",				   "port"				    },
    {"amqp://u:secret/x@mq1",                           "percent-encoded"                         },
    {"amqp://u:secret#x@mq1",                           "percent-encoded"                         },
    {"amqp://::1",				      "IPv6"				    },
    {"amqp://[::1",				     "']'"				     },
    {"amqp://[]",				       "']'"				     },
    {"amqp://[::1]x",				   "']'"				     },
    {"amqp://u%:secret@mq1",                            "user"				    },
    {"amqp://u:secret%2@mq1",                           "password"                                },
    {"amqp://u:secret%00@mq1",                          "password"                                },
    {"amqp://u:secret%zz@mq1",                          "password"                                },
    {"amqp://mq%1/",				    "host"				    },
    {"amqp://mq1/%f",				   "path"				    },
    {"amqp://mq1/a b",				  "blanks"				  },
    {"amqp://mq1/a\n",				  "blanks"				  },
    {"unix://",					 "socket"				  },
    {"unix:///",					"socket"				  },
    {"redis+sentinel://a:26379",                        "name of the master"                      },
    {"redis+sentinel://a//0",                           "name of the master"                      },
    {"redis+sentinel://a,,b/m",                         "between commas"                          },
    {"redis+sentinel://a,b:0/m",                        "port"                                    },
    {"redis+sentinel://a,[::1/m",                       "']'"                                     },
    {"redis+sentinel://a/m?password=secret",            "only sentinel_user and sentinel_password"},
    {"redis+sentinel://a/m?sentinel_user=u",            "needs a sentinel_password"               },
    {"redis+sentinel://a/m?sentinel_password=secret%2", "sentinel_password"                       },
    {"unix://host/run/redis.sock",                      "socket"                                  },
};

static void assert_text(const char *what, const char *row, const char *got, const char *want)
{
	if ((got == NULL) != (want == NULL) || (got != NULL && strcmp(got, want) != 0))
		fail_msg("%s: %s is %s, not %s", row, what, got ? got : "NULL",
			 want ? want : "NULL");
}

static void takes_good_urls_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		const char *row = good[i].text;
		const struct url *want = &good[i].want;
		struct url url;
		struct error why = {0};
		if (url_parse(row, &url, &why) != ST_OK)
			fail_msg("%s: %s", row, why.text);
		assert_int_equal(url.scheme, want->scheme);
		assert_text("user", row, url.user, want->user);
		assert_text("password", row, url.password, want->password);
		assert_text("host", row, url.host, want->host);
		assert_int_equal(url.port, want->port);
		assert_text("path", row, url.path, want->path);
		assert_text("query", row, url.query, want->query);
		assert_text("service", row, url.service, want->service);
		assert_text("sentinel_user", row, url.sentinel_user, want->sentinel_user);
		assert_text("sentinel_password", row, url.sentinel_password,
			    want->sentinel_password);
		url_free(&url);
	}
}

static void each_node_has_a_place(void **state)
{
	struct url url;
	struct error why;
	struct url_node s;
	(void)state;
	assert_int_equal(url_parse("redis+sentinel://a:1,[::1]:2,c%2dd/m", &url, &why), ST_OK);
	assert_true(url_node(&url, 0, &s));
	assert_string_equal(s.host, "a");
	assert_int_equal(s.port, 1);
	assert_true(url_node(&url, 1, &s));
	assert_string_equal(s.host, "::1");
	assert_int_equal(s.port, 2);
	assert_true(url_node(&url, 2, &s));
	assert_string_equal(s.host, "c-d");
	assert_int_equal(s.port, 26379);
	assert_false(url_node(&url, 3, &s));
	url_free(&url);
}

static void refuses_bad_urls_without_quoting_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct url url = {.port = 4711};
		struct error why = {0};
		if (url_parse(bad[i].text, &url, &why) != ST_INVALID)
			fail_msg("%s: was taken", bad[i].text);
		if (strstr(why.text, bad[i].says) == NULL)
			fail_msg("%s: \"%s\" lacks \"%s\"", bad[i].text, why.text, bad[i].says);
		assert_null(strstr(why.text, "secret"));
		assert_int_equal(url.port, 4711);
	}
}

static void redacts_passwords(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
	    {"amqp://user:secret@mq1:5672/vhost",                               "amqp://user:***@mq1:5672/vhost"},
	    {"redis://:secret@h/0",					     "redis://:***@h/0"              },
	    {"redis://u@h/0",						   "redis://u@h/0"                 },
	    {"redis://h:6379/0",						"redis://h:6379/0"              },
	    {"redis://u:se@cr/et@h",					    "redis://u:***@h"               },
	    {"user:secret@h",						   "user:***@h"                    },
	    {"",								""			      },
	    {"redis+sentinel://:secret@h,i/m?sentinel_password=se@cret",
	     "redis+sentinel://:***@h,i/m?***"								  },
	    {"redis+sentinel://h:1/m?sentinel_user=u&sentinel_password=secret",
	     "redis+sentinel://h:1/m?***"								       },
	    {"redis+sentinel://:se?cret@h/m",                                   "redis+sentinel://:***@h/m"     },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char buf[64];
		url_redacted(rows[i][0], buf, sizeof buf);
		assert_string_equal(buf, rows[i][1]);
	}
	char small[12];
	url_redacted("amqp://user:secret@mq1", small, sizeof small);
	assert_string_equal(small, "amqp://user");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(takes_good_urls_apart),
	    cmocka_unit_test(each_node_has_a_place),
	    cmocka_unit_test(refuses_bad_urls_without_quoting_them),
	    cmocka_unit_test(redacts_passwords),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
