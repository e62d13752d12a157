/* What may be listened on, and that it is printed as it was meant. */
#include "settings/listen_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_parse_and_print(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want; /* NULL: refused */
	} rows[] = {
	    {"127.0.0.1:9180",							 "127.0.0.1:9180"},
	    {"0.0.0.0:0",							      "0.0.0.0:0"     },
	    {"localhost:1",							    "127.0.0.1:1"   },
	    {"[::1]:65535",							    "[::1]:65535"   },
	    {"*:9180",								 "[::]:9180"     },
	    {"[::]:9180",							      "[::]:9180"     },
	    {"::1:9180",							       NULL            },
	    {"[127.0.0.1]:1",							  NULL            },
	    {"[::1:1",								 NULL            },
	    {"[]:1",								   NULL            },
	    {"127.0.0.1",							      NULL            },
	    {"127.0.0.1:",							     NULL            },
	    {"127.0.0.1:65536",							NULL            },
	    {"127.0.0.1:-1",							   NULL            },
	    {"127.0.0.1:80 ",							  NULL            },
	    {":9180",								  NULL            },
	    {"9180",								   NULL            },
	    {"",								       NULL            },
	    {"127.1:80",							       NULL            },
	    {"worker.example:80",						      NULL            },
	    {"1111111111111111111111111111111111111111111111111111111111111111111:80", NULL            },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct listen_address address;
		char text[80] = "";
		bool good = listen_address_parse(rows[i].text, &address);
		if (good)
			listen_address_print(&address, text, sizeof text);
		if (good != (rows[i].want != NULL) || (good && strcmp(text, rows[i].want) != 0))
			fail_msg("\"%s\": %s", rows[i].text, good ? text : "refused");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse_and_print)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
