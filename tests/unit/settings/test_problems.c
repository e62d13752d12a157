/* What is wrong with a configuration, and in which line: texts and the problems they must give, in
 * order and no others. Whatever is wrong, no report may hold the secret that is in most of them. */
#include "settings/settings.h"
#include "sources/kind.h"

#include "../wire/authority.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../cmocka_names.h"

#define SECRET  "s3kr1t"
#define HANDLER "handler \"h\" { type = exec command = {\"/bin/true\"} }\n"
#define BROKER                                                                                     \
	"rabbitmq \"m\" { url = \"amqp://u:" SECRET                                                \
	"@mq1/\" queue \"q\" { handler = h dlx = true } }\n"
#define LISTS "redis \"r\" { url = \"redis://:" SECRET "@r1/0\" list \"l\" { handler = h } }\n"
#define MQ(scheme, keys)                                                                           \
	"rabbitmq \"m\" { url = \"" scheme "://u:" SECRET "@h\" " keys                             \
	" queue \"q\" { handler = h dlx = true } }\n"
#define CACHE(scheme, keys)                                                                        \
	"redis \"r\" { url = \"" scheme "://:" SECRET "@h\" " keys " list \"l\" { handler = h } "  \
	"}\n"
#define QUEUE_WITH(keys, handler_keys)                                                             \
	"rabbitmq \"m\" { url = \"amqp://u:" SECRET                                                \
	"@h\" queue \"q\" { handler = h dlx = true " keys                                          \
	" } }\nhandler \"h\" { type = exec command = {\"/bin/true\"} " handler_keys " }\n"
#define GOOD BROKER HANDLER /* 2 lines that nothing is wrong with */

struct expected {
	unsigned line;    /* 0 ends the list */
	const char *text; /* "warning: ..." or "error: ...", its beginning */
};

struct row {
	const char *about, *text;
	struct expected expected[12];
};

/* clang-format off */
static const struct row rows[] = {
	{"nothing wrong", GOOD LISTS, {{0}}},

	/* --- lines --- */
	{"one-line comments", "# a\n// b\n\n  # c\n" GOOD "bogus = 1\n", {{7, "error: unknown key bogus"}}},
	{"comment behind a value", "worker { concurrency = 4 # four\n} // so\n" GOOD "bogus = 1",
		{{5, "error: unknown key bogus"}}},
	{"comment of several lines", "/* a\n * b\n **/ /**/ /***/ /*/ */\n" GOOD "bogus = 1",
		{{6, "error: unknown key bogus"}}},
	{"strings of several lines", "worker { name = \"a\nb\\\nc\"\n}\nlog { level = 'x\ny' }\n" GOOD "bogus = 1",
		{{5, "error: level cannot be this: use"}, {9, "error: unknown key bogus"}}},
	{"carriage returns", "worker {\r\n concurrency = 0\r\n}\r\n" GOOD, {{2, "error: concurrency cannot be \"0\""}}},
	{"nested sections",
		HANDLER "rabbitmq \"m\" {\n url = \"amqp://h\"\n\n queue \"q\" { dlx = true\n\n  handler = h\n  prefetch = 0 } }",
		{{8, "error: prefetch cannot be \"0\": a whole number from 1 to 65535 is needed, or \"auto\""}}},

	/* --- unknown names --- */
	{"a misspelt key", GOOD "worker { concurency = 4 }",
		{{3, "error: unknown key concurency in section worker: did you mean concurrency?"}}},
	{"a misspelt section", GOOD "wroker { }", {{3, "error: unknown section wroker: did you mean worker?"}}},
	{"a key of another section", GOOD "worker { grace = 1s }",
		{{3, "error: unknown key grace in section worker: it belongs in a section drain"}}},
	{"a section of another section", GOOD "queue \"x\" { }",
		{{3, "error: unknown section queue: it belongs in a section rabbitmq"}}},
	{"a name like no other", GOOD "zzzzzzzzzz = 1", {{3, "error: unknown key zzzzzzzzzz"}}},
	{"a section of a later version, and what is in it", GOOD "store { socket = \"x\"\n list = {\"a\"}\n deep \"x\" { y = 1 } }",
		{{3, "error: unknown section store"}}},
	{"the same unknown key at each place", GOOD "a = 1\nb = {1, 2}\na = 3\nworker { a = 2 }\n",
		{{3, "error: unknown key a"}, {4, "error: unknown key b"}, {5, "error: unknown key a"},
		 {6, "error: unknown key a in section worker"}}},
	{"a name that is none", GOOD "worker { }\nworker|name = x", {{4, "error: unknown key"}}},
	{"a section that is none", GOOD "\"rabbitmq=m|queue\" \"x\" { }", {{3, "error: unknown section"}}},
	{"a value where a key should be", "rabbitmq \"m\" {\nurl = \"amqp://a\" \"amqp://u:" SECRET "@b\" }",
		{{2, "error: a key was expected here"}}},
	{"the same with a bar in it", "rabbitmq \"m\" {\nurl = \"amqp://a\" \"" SECRET "|x=y\" }",
		{{2, "error: a key was expected here"}}},
	{"a value where a comma should be", "rabbitmq \"m\" { urls = {\"amqp://a\"\n\"amqp://u:" SECRET "@b\"} }",
		{{2, "error: a mark was expected here"}}},

	/* --- the text --- */
	{"an open string", "\nworker { name = \"abc\n}\n", {{2, "error: this string never ends"}}},
	{"an open plain string", "\nworker { name = 'abc\n}\n", {{2, "error: this string never ends"}}},
	{"an open comment", "\n/* abc\n", {{2, "error: this comment never ends"}}},
	{"an open section", GOOD "worker {\n", {{3, "error: this { is never closed"}}},
	{"an open list", GOOD "\nworker { name = { a", {{4, "error: this { is never closed"}}},
	{"a brace too many", GOOD "}\n", {{3, "error: this } closes nothing"}}},
	{"a missing value", GOOD "worker { concurrency = \n}", {{4, "error: unexpected token '}'"}}},
	{"a missing equals sign", GOOD "worker { concurrency 3 }", {{3, "error: missing equal sign"}}},
	{"a missing title", "rabbitmq {\n}", {{1, "error: missing title for section 'rabbitmq'"}}},
	{"a title where none belongs", "worker \"x\" { }", {{1, "error: missing opening brace for section 'worker'"}}},
	{"a stray star", GOOD "worker { name = a*b }", {{3, "error: stray *"}}},
	{"a stray plus", GOOD "worker { concurrency = +3 }", {{3, "error: stray +"}}},
	{"a NUL in an escape", "worker { name = \"a\\x00b\" }", {{1, "error: numeric escapes"}}},
	{"a number in an escape", "worker { name = \"a\\999b\" }", {{1, "error: numeric escapes"}}},
	{"no section at all", "", {{1, "error: there is nothing to do"}}},
	{"too deep", "a { a { a { a { a { a { a { a { a { a { a { a { a { a { a { a { a {", {{1, "error: unknown section a"}, {1, "error: sections are nested too deeply"}}},

	/* --- what lost its quotes, or stands in the wrong place: it may be a secret --- */
	{"a blank in a password", "rabbitmq \"m\" { url = amqp://u:p " SECRET " queue \"q\" { handler = h dlx = true } }\n" HANDLER, {{1, "error: a key was expected here"}}},
	{"a quote in a password", "rabbitmq \"m\" { url = \"amqp://u:\"" SECRET "\"@h/\" queue \"q\" { handler = h dlx = true } }\n" HANDLER, {{1, "error: a key was expected here"}}},
	{"a quote that turns the rest inside out", "rabbitmq \"m\" { url = \"amqp://u:p\"" SECRET "@h/\" queue \"q\" { handler = h dlx = true } }\n" HANDLER,
		{{1, "error: a key was expected here"}, {2, "error: a key was expected here"}}},
	{"an equals sign in a password", "rabbitmq \"m\" { url = amqp://u:" SECRET " " SECRET "= queue \"q\" { handler = h dlx = true } }\n" HANDLER,
		{{1, "error: unknown key in section rabbitmq"}, {1, "error: unknown section in section rabbitmq"}, {1, "error: url: the port must be"},
		 {1, "warning: rabbitmq \"m\" has no queue"}, {1, "error: there is nothing to do"}, {2, "warning: handler \"h\" is used by no"}}},
	{"a brace in a password", "rabbitmq \"m\" { url = amqp://u:" SECRET "{" SECRET "} queue \"q\" { handler = h dlx = true } }\n" HANDLER, {{1, "error: unexpected token '{'"}}},
	{"a secret as a key", GOOD "worker { " SECRET " = 1\n\"" SECRET " x\" = 2\n" SECRET "_concurrency = 3 }",
		{{3, "error: unknown key in section worker"}, {4, "error: unknown key in section worker"}, {5, "error: unknown key in section worker"}}},
	{"a secret as a section", GOOD SECRET " { }\n" SECRET " \"" SECRET "\" { }", {{3, "error: unknown section"}, {4, "error: unknown section"}}},
	{"an address as a title", "rabbitmq \"amqp://u:" SECRET "@h\" {\nqueue \"q\" { handler = h dlx = true } }\n" HANDLER, {{1, "error: a title is a name, and this is an address"}}},
	{"an address for a file", "redis \"r\" { url_file = \"redis://:" SECRET "@h\" list \"l\" { handler = h } }\n" HANDLER, {{1, "error: the file of url_file cannot be read"}}},
	{"a password for its file", "redis \"r\" { url = \"redis://h\" password_file = \"" SECRET "\" list \"l\" { handler = h } }\n" HANDLER, {{1, "error: the file of password_file cannot be read"}}},
	{"a token for its file", GOOD "admin { http = \"*:0\" token_file = \"" SECRET "/" SECRET "\" }", {{3, "error: the file of token_file cannot be read"}}},
	{"an address to include", "include(\"amqp://u:" SECRET "@h\")", {{1, "error: the included file cannot be read"}}},
	{"an address for each kind of path", BROKER "handler \"h\" { type = exec command = {\"http://u:" SECRET "@h\"}\ndirectory = \"" SECRET "@h\" }\n"
		"drain { report = \"amqp://u:" SECRET "@h\"\ndeadline_file = \"amqp://u:" SECRET "@h\" }\nadmin { socket = \"amqp://u:" SECRET "@s\" }",
		{{2, "error: handler \"h\": its program: No such"}, {3, "error: handler \"h\": directory as it is given: No such"}, {4, "warning: drain: the report cannot be written to its file"},
		 {5, "warning: drain: the deadline cannot be read from its file"}, {6, "error: admin: the socket cannot be made in its folder"}}},
	{"a secret variable for each kind of value", "rabbitmq \"m\" { url = \"amqp://h\"\nqueue \"q\" { dlx = true handler = ${OUTFALL_TEST_SECRET}\nprefetch = ${OUTFALL_TEST_SECRET}\n"
		"declare = \"${OUTFALL_TEST_SECRET}\" } }\ndrain { grace = ${OUTFALL_TEST_SECRET}\ntimeout = ${OUTFALL_TEST_SECRET} }\nadmin { http = ${OUTFALL_TEST_SECRET} }\n"
		"handler \"h\" { type = plugin path = ${OUTFALL_TEST_SECRET} }",
		{{2, "error: queue \"q\": there is no handler of that name"}, {3, "error: prefetch cannot be this"}, {4, "error: declare cannot be this"}, {5, "error: grace cannot be this"},
		 {6, "error: timeout cannot be this"}, {7, "error: http needs an address"}, {8, "warning: handler \"h\" is used by no"}, {8, "error: handler \"h\": path is the name of no shared"}}},
	{"a variable that is like a plain word", "rabbitmq \"m\" { url = \"amqp://h\"\nqueue \"q\" { dlx = true handler = ${OUTFALL_TEST_WORD}\nprefetch = ${OUTFALL_TEST_WORD} } }\n"
		"handler \"h\" { type = ${OUTFALL_TEST_WORD} }\n" LISTS "handler \"k\" { type = exec command = {${OUTFALL_TEST_WORD}}\ndirectory = ${OUTFALL_TEST_WORD}\nuser = ${OUTFALL_TEST_WORD} }",
		{{2, "error: queue \"q\": there is no handler of that name"}, {3, "error: prefetch cannot be this"}, {4, "error: type cannot be this"},
		 {6, "warning: handler \"k\" is used by no"}, {6, "error: handler \"k\": its program is in no folder"}, {7, "error: handler \"k\": directory as it is given"},
		 {8, "error: handler \"k\": user: it cannot be taken"}}},
	{"a secret where a path or a user should be", BROKER "handler \"h\" { type = exec command = {\"" SECRET "\"}\ndirectory = \"a/" SECRET "+b=\"\nuser = " SECRET " }\n"
		"drain { deadline_file = \"" SECRET "\" }",
		{{2, "error: handler \"h\": its program is in no folder"}, {3, "error: handler \"h\": directory as it is given"}, {4, "error: handler \"h\": user: it cannot be taken"},
		 {5, "warning: drain: the deadline cannot be read from its file"}}},
	{"twice, with a secret in the first", GOOD "drain { deadline_file = ${OUTFALL_TEST_WORD}\n}\ndrain { deadline_file = ${OUTFALL_TEST_UNSET} report = x }",
		{{3, "warning: drain: the deadline cannot be read from its file"}, {5, "error: the variable OUTFALL_TEST_UNSET"}, {5, "error: section drain is there twice"}}},
	{"a secret for each kind of value", "rabbitmq \"m\" { url = \"amqp://h\" heartbeat = " SECRET "\nqueue \"q\" { dlx = true handler = " SECRET "\nretry = " SECRET " priority = " SECRET "} }\n"
		"retry \"default\" { jitter = " SECRET "}\nadmin { socket_mode = " SECRET " }",
		{{1, "error: heartbeat cannot be this"}, {2, "error: queue \"q\": there is no handler of that name"}, {3, "error: priority cannot be this"},
		 {3, "error: queue \"q\": there is no retry of that name"}, {4, "error: jitter cannot be this"}, {5, "error: socket_mode cannot be this"}}},
	{"what looks like a variable in a password", GOOD "worker { name = \"p${" SECRET "}\"\n}\nlog { level = \"${OUTFALL_TEST_UNSET-" SECRET "}\" }",
		{{3, "error: a variable is not set"}, {5, "error: a variable is not set"}}},

	/* --- all of them at once --- */
	{"one error after the other", GOOD "worker { concurrency 3\n name = }\n}\ndrain { timeout = {a b}\n grace = +2s }\nlog { level = info info\n format = {text\n }\n",
		{{3, "error: missing equal sign after concurrency"}, {4, "error: unexpected token '}': a value was expected"}, {5, "error: this } closes nothing"},
		 {6, "error: a mark was expected here"}, {7, "error: stray +"}, {8, "error: a key was expected here"}, {8, "error: this { is never closed"}}},

	/* --- variables --- */
	{"a variable that is not set", GOOD "worker {\nname = \"${OUTFALL_TEST_UNSET}\" }",
		{{4, "error: the variable OUTFALL_TEST_UNSET is not set"}}},
	{"and only that is reported", "rabbitmq \"m\" { url = \"amqp://${OUTFALL_TEST_UNSET}\"\nqueue \"q\" { dlx = true handler = \"${OUTFALL_TEST_UNSET}\" } }\n"
		"handler \"h\" { type = exec\ncommand = {\"${OUTFALL_TEST_UNSET}\"} timeout = ${OUTFALL_TEST_UNSET} }",
		{{1, "error: the variable"}, {2, "error: the variable"}, {3, "warning: handler \"h\" is used by no"},
		 {4, "error: the variable"}, {4, "error: the variable"}}},
	{"in single quotes it is no variable", GOOD "worker { name = '${OUTFALL_TEST_UNSET}' }", {{0}}},
	{"nor with a backslash", GOOD "worker { name = \"\\${OUTFALL_TEST_UNSET}\" }", {{0}}},
	{"a default", GOOD "worker { name = \"${OUTFALL_TEST_UNSET:-x}\" }", {{0}}},
	{"a variable without end", GOOD "worker { name = \"${X\" }", {{3, "error: ${ without its }"}}},
	{"a variable inside a bare word", GOOD "worker { name = a${HOME} }", {{3, "error: a value with ${...} inside needs quotes"}}},
	{"a variable with control characters", GOOD "worker { name = ${OUTFALL_TEST_CONTROL} }",
		{{3, "error: the variable OUTFALL_TEST_CONTROL holds control characters"}}},

	/* --- includes --- */
	{"a missing file", GOOD "include(\"nowhere.conf\")", {{3, "error: the included file"}}},
	{"not how it is written", GOOD "include \"x\"", {{3, "error: an include is written include(\"file\")"}}},
	{"no pattern's match", GOOD "include(\"nowhere-*.conf\")\nbogus = 1", {{4, "error: unknown key bogus"}}},
	{"no pattern's folder", GOOD "include(\"nowhere/*.conf\")", {{3, "error: the included file nowhere/*.conf cannot be read: its folder"}}},
	{"itself, by a pattern", "include(\"outfall*.conf\")", {{1, "error: outfall.conf includes itself"}}},
	{"itself", "include(\"outfall.conf\")", {{1, "error: outfall.conf includes itself"}}},

	/* --- values --- */
	{"wrong numbers, all at once", GOOD
		"worker { concurrency = many\nmax_body = 64MB }\ndrain { timeout = soon\nreserve = 5\ngrace = 2d }\n"
		"retry \"default\" { attempts = 0\njitter = 1.01\nfirst = 1.5s\nbackoff = fast }\nlog { level = loud\nformat = xml }",
		{{3, "error: concurrency cannot be \"many\": a whole number from 1 to 100000 is needed"},
		 {4, "error: max_body cannot be \"64MB\": a size like 4096, 64k or 10M from 1 to 1G is needed"},
		 {5, "error: timeout cannot be \"soon\""},
		 {6, "error: reserve cannot be \"5\": a time like 500ms, 30s, 10m or 2h from 0 to 1h is needed"},
		 {7, "error: grace cannot be \"2d\""},
		 {8, "error: attempts cannot be \"0\""},
		 {9, "error: jitter cannot be \"1.01\": a number from 0 to 1 is needed"},
		 {10, "error: first cannot be \"1.5s\""},
		 {11, "error: backoff cannot be \"fast\": use \"exponential\", \"linear\" or \"constant\""},
		 {12, "error: level cannot be \"loud\": use \"error\", \"warn\", \"info\" or \"debug\""},
		 {13, "error: format cannot be \"xml\": use \"text\" or \"json\""}}},
	{"jitter is a plain number", GOOD "retry \"default\" { jitter = nan }", {{3, "error: jitter cannot be \"nan\""}}},
	{"priority has a sign", "rabbitmq \"m\" { url = \"amqp://h\" queue \"q\" { dlx = true handler = h priority = -2147483648 } }" HANDLER,
		{{1, "error: priority cannot be \"-2147483648\""}}},
	{"a list for one value", GOOD "worker { name = {\"a\", \"b\"} }", {{3, "error: name takes one value, not a list"}}},
	{"an empty list", BROKER "handler \"h\" { type = exec command = {\"/bin/true\"}\nenvironment = {} }",
		{{3, "error: a list is empty: give it a value or leave the key out"}}},
	{"an empty list for one value", BROKER "handler \"h\" { type = exec command = {\"/bin/true\"}\ntimeout\n= { # none\n} }",
		{{5, "error: a list is empty"}}},
	{"an empty section", GOOD "log {}\nworker { # nothing\n}", {{0}}},
	{"an empty value", GOOD "drain { report = \"\" }", {{3, "error: report is empty"}}},
	{"a key twice", GOOD "log {\nlevel = info\nlevel = warn }", {{5, "error: level is set twice, first in line 4"}}},
	{"for a later version", "redis \"r\" { url = \"redis://h\" list \"l\" { handler = h format = sidekiq } }" HANDLER,
		{{1, "error: format \"sidekiq\" is not supported by this version: use \"list\""}}},
	{"a type nobody knows", BROKER "handler \"h\" { type = thread path = \"x.so\" }",
		{{2, "error: type cannot be \"thread\": use \"exec\", \"pool\", \"plugin\" or \"http\""}}},
	{"a lease below a second", "redis \"r\" { url = \"redis://h\" list \"l\" { handler = h lease = 999ms } }" HANDLER,
		{{1, "error: lease cannot be \"999ms\": a time like 500ms, 30s, 10m or 2h from 1s to 1h is needed"}}},
	{"half a second of heartbeat", "rabbitmq \"m\" { url = \"amqp://h\" heartbeat = 1500ms queue \"q\" { handler = h dlx = true } }" HANDLER,
		{{1, "error: heartbeat: RabbitMQ counts in whole seconds"}}},

	/* --- what must fit together --- */
	{"no handler of that name", "rabbitmq \"m\" { url = \"amqp://h\" queue \"q\" { dlx = true\n handler = nobody } }" ,
		{{2, "error: queue \"q\": there is no handler \"nobody\""}}},
	{"no handler at all", "rabbitmq \"m\" { url = \"amqp://h\"\nqueue \"q\" { dlx = true } }", {{2, "error: queue \"q\" has no handler"}}},
	{"no retry of that name", "rabbitmq \"m\" { url = \"amqp://h\" queue \"q\" { dlx = true handler = h\nretry = slow } }" HANDLER,
		{{2, "error: queue \"q\": there is no retry \"slow\""}}},
	{"twice", GOOD HANDLER "rabbitmq \"b\" { url = \"amqp://h\"\nqueue \"q\" { handler = h dlx = true }\nqueue \"q\" { handler = h dlx = true } }\nworker { }\nworker { }\n" LISTS LISTS,
		{{3, "error: handler \"h\" is there twice, first in"}, {6, "error: queue \"q\" is there twice"},
		 {8, "error: section worker is there twice"}, {10, "error: redis \"r\" is there twice"}}},
	{"no names", HANDLER "rabbitmq \"\" { url = \"amqp://h\"\nqueue \"\" { handler = h dlx = true } }",
		{{2, "error: rabbitmq \"\" needs a name"}, {3, "error: queue \"\" needs a name"}}},
	{"no queue anywhere", "redis \"r\" { url = \"redis://h\" }",
		{{1, "warning: redis \"r\" has no list"}, {1, "error: there is nothing to do"}}},
	{"dead jobs that nobody keeps", "rabbitmq \"m\" { url = \"amqp://h\"\nqueue \"a\" { handler = h }\nqueue \"b\" { handler = h declare = durable }\n"
		"queue \"c\" { handler = h dlx = true }\nqueue \"d\" { handler = h dead = x } }\n" HANDLER,
		{{2, "warning: queue \"a\": its dead jobs are lost unless it has a dead letter exchange"}}},
	{"dead jobs to two places", "rabbitmq \"m\" { url = \"amqp://h\"\nqueue \"a\" { handler = h dead = x\ndlx = true } }\n" HANDLER,
		{{3, "error: queue \"a\": its dead jobs go to the queue that dead names, or"}}},
	{"dead is the queue itself", "redis \"r\" { url = \"redis://h\" list \"l\" { handler = h dead = l } }\n"
		"rabbitmq \"m\" { url = \"amqp://h\" queue \"q\" { handler = h\ndead = q } }" HANDLER,
		{{1, "error: list \"l\" is its own dead"}, {3, "error: queue \"q\" is its own dead"}}},
	{"no time for jobs", GOOD "drain { reserve = 2s grace = 5s\ntimeout = 7s }",
		{{4, "error: drain: reserve and grace take 7s of timeout's 7s"}}},
	{"the defaults give way", GOOD "drain { timeout = 3s }", {{0}}},
	{"just time for jobs", GOOD "drain { timeout = 7001ms }", {{0}}},
	{"for ever is time enough", GOOD "drain { reserve = 1h timeout = none }", {{0}}},
	{"no time for jobs, perhaps", GOOD "drain { grace = 40s }", {{3, "warning: drain: reserve and grace take 42s, but \"auto\" means 30s"}}},
	{"a prefetch that starves", "rabbitmq \"m\" { url = \"amqp://h\" queue \"q\" { dlx = true handler = h\nprefetch = 2 concurrency = 3 } }" HANDLER,
		{{2, "warning: queue \"q\": with prefetch 2, concurrency 3 is never reached"}}},
	{"missing, and created", "rabbitmq \"m\" { url = \"amqp://h\" queue \"q\" { handler = h declare = durable\nmissing = wait } }" HANDLER,
		{{2, "warning: queue \"q\": declare creates it where it is missing"}}},
	{"longer than RabbitMQ waits", "rabbitmq \"m\" { url = \"amqp://h\" queue \"q\" { handler = h dlx = true } }\nhandler \"h\" { type = exec command = {\"/bin/true\"} timeout = 31m }",
		{{1, "warning: queue \"q\": handler \"h\" may run longer than the 30m"}}},
	{"never used", GOOD "handler \"x\" { type = exec command = {\"/bin/true\"} }\nretry \"x\" { }",
		{{3, "warning: handler \"x\" is used by no queue or list"}, {4, "warning: retry \"x\" is used by no queue or list"}}},
	{"waits that never grow", GOOD "retry \"default\" { first = 2m max = 1m }", {{3, "warning: retry \"default\": first is longer than max"}}},
	/* --- admin --- */
	{"a job no longer than it is told to wait", QUEUE_WITH("consumer_timeout = 1h", "timeout = 31m"), {{0}}},
	{"a job longer than it is told to wait", QUEUE_WITH("consumer_timeout = 5m", "timeout = 6m"),
		{{1, "warning: queue \"q\": handler \"h\" may run longer than consumer_timeout"}}},
	{"less than RabbitMQ looks at", QUEUE_WITH("consumer_timeout = 1s", ""), {{1, "error: consumer_timeout cannot be \"1s\""}}},
	{"a good admin", GOOD "admin { socket = \"/tmp/a.sock\" socket_mode = 0600 http = \"*:0\" hosts = {a, b} }", {{0}}},
	{"a name to listen on", GOOD "admin {\nhttp = \"worker.example:80\" }",
		{{4, "error: http needs an address and a port"}}},
	{"an agent without a port", GOOD "admin {\nagent = \"127.0.0.1\" }",
		{{4, "error: agent needs an address and a port"}}},
	{"no folder for the socket", GOOD "admin { socket = \"/nonexistent/a.sock\" }",
		{{3, "error: admin: the socket cannot be made in /nonexistent/"}}},
	{"a mode of words", GOOD "admin { socket = \"/tmp/a.sock\"\nsocket_mode = \"rw\" }",
		{{4, "error: socket_mode cannot be \"rw\": octal digits"}}},
	{"a mode of more bits", GOOD "admin { socket = \"/tmp/a.sock\"\nsocket_mode = 7777 }",
		{{4, "error: socket_mode cannot be \"7777\""}}},
	{"no token", GOOD "admin { http = \"*:0\"\ntoken_file = \"/nonexistent/t\" }",
		{{4, "error: the file of token_file cannot be read: No such file"}}},
	{"keys without their like", GOOD "admin { hosts = {a} socket = none\nsocket_mode = 0600 }",
		{{3, "warning: admin: hosts has no effect without http"}, {4, "warning: admin: socket_mode has no effect"}}},

	{"no folder but a file", GOOD "admin { socket = \"secret\" }", {{3, "error: admin: where the socket should be is a file that is no socket"}}},
	{"two on one port", GOOD "admin { http = \"127.0.0.1:9180\"\nagent = \"localhost:9180\" }", {{4, "error: admin: http and agent cannot listen on one port"}}},
	{"two on one port of all", GOOD "admin { http = \"*:9180\"\nagent = \"127.0.0.1:9180\" }", {{4, "error: admin: http and agent cannot listen"}}},
	{"two on ports of their own", GOOD "admin { http = \"127.0.0.1:9180\" agent = \"127.0.0.2:9180\" }", {{0}}},
	{"any two", GOOD "admin { http = \"127.0.0.1:0\" agent = \"127.0.0.1:0\" }", {{0}}},
	{"an address of another host", GOOD "admin {\nagent = \"192.0.2.1:9181\" }", {{4, "error: admin: agent cannot be listened on: Cannot assign"}}},
	{"the socket as report", GOOD "admin { socket = \"/tmp/a.sock\" }\ndrain { report = \"/tmp/a.sock\" }", {{4, "error: drain: the report would take the place of admin's socket"}}},
	{"one name for two", BROKER HANDLER "redis \"m\" { url = \"redis://h\" list \"l\" { handler = h }\nlist \"q\" { handler = h } }",
		{{4, "error: redis \"m\" has a list \"q\", and rabbitmq \"m\" a queue of that name (outfall.conf:1)"}}},
	{"a queue in two sections", BROKER HANDLER "rabbitmq \"n\" { url = \"amqp://other:" SECRET "@mq1:5672/\"\nqueue \"q\" { handler = h dlx = true } }",
		{{4, "warning: queue \"q\" is taken from by rabbitmq \"m\", too (outfall.conf:1)"}}},
	{"a queue of the same name elsewhere", BROKER HANDLER "rabbitmq \"n\" { url = \"amqp://mq1/v\" queue \"q\" { handler = h dlx = true } }", {{0}}},
	{"each other's dead", "redis \"r\" { url = \"redis://h\" list \"a\" { handler = h\ndead = b }\nlist \"b\" { handler = h dead = a } }\n" HANDLER,
		{{2, "error: list \"a\": its dead jobs come back to it by way of \"b\""}, {3, "error: list \"b\": its dead jobs come back"}}},
	{"a longer way round", "rabbitmq \"m\" { url = \"amqp://h\" queue \"o\" { handler = h dead = a }\nqueue \"a\" { handler = h dead = b }\nqueue \"b\" { handler = h dead = c }\n"
		"queue \"c\" { handler = h dead = a } }\n" HANDLER,
		{{2, "error: queue \"a\": its dead jobs"}, {3, "error: queue \"b\": its dead jobs"}, {4, "error: queue \"c\": its dead jobs"}}},
	{"a way to an end", "rabbitmq \"m\" { url = \"amqp://h\" queue \"a\" { handler = h dead = b } queue \"b\" { handler = h dead = c } }\n" HANDLER, {{0}}},

	{"nowhere to report to", GOOD "drain { report = \"/nonexistent/outfall/drain.json\" }", {{3, "warning: drain: the report cannot be written"}}},
	{"no deadline to read", GOOD "drain { deadline_file = \"/nonexistent/outfall/stop\" }", {{3, "warning: drain: the deadline cannot be read"}}},

	/* --- handlers --- */
	{"no type", BROKER "handler \"h\" { command = {\"/bin/true\"} }", {{2, "error: handler \"h\" has no type"}}},
	{"no command", BROKER "handler \"h\" { type = exec }", {{2, "error: handler \"h\" has no command"}}},
	{"an empty command", BROKER "handler \"h\" { type = exec command = {} }",
		{{2, "error: a list is empty"}, {2, "error: handler \"h\" has no command"}}},
	{"an empty program", BROKER "handler \"h\" { type = exec command = {\"\", x} }", {{2, "error: handler \"h\": the first word of command is empty"}}},
	{"a program that is not there", BROKER "handler \"h\" { type = exec\ncommand = {\"/nonexistent/x\"} }", {{3, "error: handler \"h\": /nonexistent/x: No such file"}}},
	{"a program that is not in PATH", BROKER "handler \"h\" { type = exec command = {outfall-no-such-program} }", {{2, "error: handler \"h\": outfall-no-such-program is in no folder of PATH"}}},
	{"a folder", BROKER "handler \"h\" { type = exec command = {\"/tmp\"} }", {{2, "error: handler \"h\": /tmp is no file that may be executed"}}},
	{"a file without the x bit", BROKER "handler \"h\" { type = exec command = {\"/etc/passwd\"} }", {{2, "error: handler \"h\": /etc/passwd is no file that may be executed"}}},
	{"a program beside the directory", BROKER "handler \"h\" { type = exec command = {\"./nothing\"} directory = \"/usr\" }", {{2, "error: handler \"h\": /usr/./nothing: No such file"}}},
	{"a program in the directory", BROKER "handler \"h\" { type = exec command = {\"bin/env\"} directory = \"/usr\" }", {{0}}},
	{"a directory that is not there", BROKER "handler \"h\" { type = exec command = {\"/bin/true\"}\ndirectory = \"/nonexistent\" }", {{3, "error: handler \"h\": directory /nonexistent: No such file"}}},
	{"a directory that is none", BROKER "handler \"h\" { type = pool command = {\"/bin/true\"}\ndirectory = \"/etc/passwd\" }", {{3, "error: handler \"h\": /etc/passwd is no directory"}}},
	{"a user that is not there", BROKER "handler \"h\" { type = exec command = {\"/bin/true\"}\nuser = \"no-such-user\" }", {{3, "error: handler \"h\": user: there is no user \"no-such-user\""}}},
	{"a group that is not there", BROKER "handler \"h\" { type = exec command = {\"/bin/true\"}\nuser = \"root\"\ngroup = \"no-such-group\" }", {{4, "error: handler \"h\": group: there is no group"}}},
	{"variables", BROKER "handler \"h\" { type = exec command = {\"/bin/true\"} environment = {\"A\", \"B_*\", \"*\", \"C=*=d\", \"D=\"} }", {{0}}},
	{"odd variables", BROKER "handler \"h\" { type = exec command = {\"/bin/true\"}\nenvironment = {\"*_B\", \"\", \"=" SECRET "\"} }",
		{{3, "error: handler \"h\": environment: value 1 is none of"}, {3, "error: handler \"h\": environment: value 2"}, {3, "error: handler \"h\": environment: value 3"}}},
	{"no path", BROKER "handler \"h\" { type = plugin }", {{2, "error: handler \"h\" has no path"}}},
	{"a plugin that is not there", BROKER "handler \"h\" { type = plugin path = \"/nonexistent/x.so\" }", {{2, "error: handler \"h\": /nonexistent/x.so: No such file"}}},
	{"no address to post to", BROKER "handler \"h\" { type = http }", {{2, "error: handler \"h\" has no url"}}},
	{"an address of another kind", BROKER "handler \"h\" { type = http\nurl = \"ftp://u:" SECRET "@h\" }", {{3, "error: handler \"h\": url: must begin with http://, https:// or unix://"}}},
	{"sockets to post to", LISTS BROKER "handler \"h\" { type = http url = \"unix:///run/a.sock:/jobs\" }", {{0}}},
	{"a socket that is none", BROKER "handler \"h\" { type = http url = \"unix://run/a.sock\" }", {{2, "error: handler \"h\": url: names no socket"}}},
	{"a socket and half a target", BROKER "handler \"h\" { type = http url = \"unix:///run/a.sock:jobs\" }", {{2, "error: handler \"h\": url: what follows the socket"}}},
	{"nobody's address", BROKER "handler \"h\" { type = http url = \"http://u:" SECRET "@/jobs\" }", {{2, "error: handler \"h\": url: names no host"}}},
	{"nobody's port", BROKER "handler \"h\" { type = http url = \"http://:80\" }", {{2, "error: handler \"h\": url: names no host"}}},
	{"no port at all", BROKER "handler \"h\" { type = http url = \"https://u:" SECRET "@h:x/\" }", {{2, "error: handler \"h\": url: the port must be"}}},
	{"an address with a line break", BROKER "handler \"h\" { type = http url = \"http://h/" SECRET "\n\" }", {{2, "error: handler \"h\": url: blanks and control"}}},
	{"good addresses", BROKER "handler \"h\" { type = http url = \"http://h\" headers = {\"Authorization: Bearer " SECRET "\", \"X-Y:z\"} }\n"
		LISTS "handler \"k\" { type = http url = \"https://u:" SECRET "@[::1]:8443/a?b=c@d/\" ca_file = \"secret\" }", {{4, "warning: handler \"k\" is used by no"}}},
	{"headers that are none", BROKER "handler \"h\" { type = http url = \"http://h\"\nheaders = {\"X: y\", \"" SECRET "\", \"X Y: " SECRET "\", \": x\", \"X:\", \"X: \"} }",
		{{3, "error: handler \"h\": header 2 is not of the form"}, {3, "error: handler \"h\": header 3 is"}, {3, "error: handler \"h\": header 4 is"},
		 {3, "error: handler \"h\": header 5 is"}, {3, "error: handler \"h\": header 6 is"}}},
	{"a header in a header", BROKER "handler \"h\" { type = http url = \"http://h\" headers = {\"X: " SECRET "\r\nY: z\"} }", {{2, "error: handler \"h\": header 1 is not"}}},
	{"headers that are ours", BROKER "handler \"h\" { type = http url = \"http://h\" headers = {\"content-length: 5\", \"Outfall-Job-Id: x\", \"Expect: y\"} }",
		{{2, "error: handler \"h\": the header Content-Length is the worker's own"}, {2, "error: handler \"h\": the header Outfall-... is"}, {2, "error: handler \"h\": the header Expect is"}}},
	{"certificates that are not there", BROKER "handler \"h\" { type = http url = \"https://h\" ca_file = \"/nonexistent/ca.pem\" }", {{2, "error: handler \"h\": /nonexistent/ca.pem: No such file"}}},
	{"certificates for nothing", BROKER "handler \"h\" { type = http url = \"http://h\" ca_file = \"secret\" }", {{2, "warning: handler \"h\": ca_file has no effect without https://"}}},
	{"an address that is not set", BROKER "handler \"h\" { type = http url = \"${OUTFALL_TEST_UNSET}\"\nheaders = {\"X: ${OUTFALL_TEST_UNSET}\"} }", {{2, "error: the variable"}, {3, "error: the variable"}}},
	{"keys of the other type", BROKER "handler \"h\" { type = exec command = {\"/bin/true\"} threads = 3\npath = \"x.so\" }",
		{{2, "warning: handler \"h\": threads has no effect"}, {3, "warning: handler \"h\": path has no effect"}}},
	{"a plugin's processes", BROKER "handler \"h\" { type = plugin path = x.so isolate = true processes = 3 max_jobs = 5 user = root }", {{0}}},
	{"where it has none", BROKER "handler \"h\" { type = plugin path = x.so\nprocesses = 3\nuser = root }",
		{{3, "warning: handler \"h\": processes has no effect without isolate"}, {4, "warning: handler \"h\": user has no effect without isolate"}}},
	{"where they cannot be", BROKER "handler \"h\" { type = plugin path = x.so isolate = true\ndirectory = \"/nonexistent\" }",
		{{3, "error: handler \"h\": directory /nonexistent: No such file"}}},

	{"a pool", BROKER "handler \"h\" { type = pool command = {\"/bin/true\"} processes = 16 per_process = 4 max_jobs = 5 limit_memory = 1G max_memory = 500M }", {{0}}},
	{"more processes than jobs", BROKER "handler \"h\" { type = pool command = {\"/bin/true\"}\nprocesses = 17 }",
		{{3, "warning: handler \"h\": 17 processes, but the worker runs 16 jobs at once"}}},
	{"limits of a life", BROKER "handler \"h\" { type = pool command = {\"/bin/true\"}\nlimit_cpu = 10s limit_memory = 1G\nmax_memory = 1G }",
		{{3, "warning: handler \"h\": limit_cpu counts a process's whole life"}, {4, "warning: handler \"h\": limit_memory is reached before max_memory"}}},

	/* --- addresses --- */
	{"none", "rabbitmq \"m\" { queue \"q\" { handler = h dlx = true } }" HANDLER, {{1, "error: rabbitmq \"m\" has no url"}}},
	{"two kinds", "rabbitmq \"m\" { url = \"amqp://h\"\nurls = {\"amqp://h\"} queue \"q\" { handler = h dlx = true } }" HANDLER, {{2, "error: url and urls are both given"}}},
	{"a bad port", "rabbitmq \"m\" { url = \"amqp://u:" SECRET "@h:0/\" queue \"q\" { handler = h dlx = true } }" HANDLER, {{1, "error: url: the port must be"}}},
	{"nonsense", "rabbitmq \"m\" { url = \"" SECRET "\" queue \"q\" { handler = h dlx = true } }" HANDLER, {{1, "error: url: must begin with amqp://"}}},
	{"no broker at all", "redis \"r\" { url = \"http://:" SECRET "@h\" list \"l\" { handler = h } }\n"
		"rabbitmq \"m\" { url = \"https://u:" SECRET "@h\" queue \"q\" { handler = h dlx = true } }" HANDLER,
		{{1, "error: url: a redis section needs a redis://"}, {2, "error: url: a rabbitmq section needs an amqp://"}}},
	{"the wrong broker", "rabbitmq \"m\" { urls = {\"amqp://h\", \"redis://:" SECRET "@h\"} queue \"q\" { handler = h dlx = true } }" HANDLER, {{1, "error: urls: a rabbitmq section needs an amqp:// or amqps:// address"}}},
	{"Sentinels of whom", "redis \"r\" { url = \"redis+sentinel://:" SECRET "@h\" list \"l\" { handler = h } }" HANDLER, {{1, "error: url: redis+sentinel:// needs the name of the master"}}},
	{"a database by name, there too", "redis \"r\" { url = \"redis+sentinel://:" SECRET "@h/m/users\" list \"l\" { handler = h } }" HANDLER, {{1, "error: url: behind the name of the master stands"}}},
	{"Sentinels as they should be", "redis \"r\" { url = \"redis+sentinel://:" SECRET "@h,i:1/m/3?sentinel_password=" SECRET "\" list \"l\" { handler = h } }" HANDLER, {{0}}},
	{"waiting without replicas", "redis \"r\" { url = \"redis://h\"\nwait_timeout = 2s list \"l\" { handler = h } }" HANDLER, {{2, "warning: redis \"r\": wait_timeout has no effect without wait_replicas"}}},
	{"waiting as long as a lease", "redis \"r\" { url = \"redis://h\" wait_replicas = 1\nwait_timeout = 2s list \"l\" { handler = h lease = 12s } }" HANDLER, {{2, "error: redis \"r\": wait_timeout must be less than a sixth of the lease of list \"l\""}}},
	{"two lists in a cluster", "redis \"r\" { url = \"redis+cluster://h,i\" list \"l\" { handler = h }\nlist \"m\" { handler = h } }" HANDLER, {{2, "error: redis \"r\": in a cluster each list has a node of its own: give list \"m\" a section"}}},
	{"a dead list elsewhere in a cluster", "redis \"r\" { url = \"redis+cluster://h,i\" list \"l\" { handler = h dead = \"failed\" } }" HANDLER, {{1, "error: list \"l\": in a cluster `dead` must be in its slot, so carry its hash tag: \"{l}...\""}}},
	{"a database in a cluster", "redis \"r\" { url = \"redis+cluster://h,i/2\" list \"l\" { handler = h } }" HANDLER, {{1, "error: url: a cluster has no database but 0"}}},
	{"a database by name", "redis \"r\" { url = \"redis://:" SECRET "@h/users\" list \"l\" { handler = h } }" HANDLER, {{1, "error: url: the path of a redis:// address"}}},
	{"a secret file that is not there", "redis \"r\" { url_file = \"/nonexistent/url\" list \"l\" { handler = h } }" HANDLER, {{1, "error: the file of url_file cannot be read: No such file"}}},
	{"two passwords", "redis \"r\" { url = \"redis://:" SECRET "@h\"\npassword_file = \"secret\" list \"l\" { handler = h } }" HANDLER, {{2, "error: password_file: the URL has a password, too"}}},
	{"whose password", "rabbitmq \"m\" { url = \"amqp://h\"\npassword_file = \"secret\" queue \"q\" { handler = h dlx = true } }" HANDLER, {{2, "error: password_file: the URL has no user"}}},
	{"a query of an amqp:// address", "rabbitmq \"r\" { url = \"amqp://u:" SECRET "@h/v?heartbeat=5\" queue \"l\" { handler = h dlx = true } }" HANDLER, {{1, "error: url: nothing is understood behind the virtual host"}}},
	{"a query nobody knows", "redis \"r\" { url = \"redis://:" SECRET "@h/0?timeout=5\" list \"l\" { handler = h } }" HANDLER, {{1, "error: url: only \"?db=<number>\" is understood"}}},
	{"two lines of secret", "redis \"r\" { url = \"redis://h\"\npassword_file = \"lines\" list \"l\" { handler = h } }" HANDLER, {{2, "error: the file of password_file must hold one line"}}},

	/* --- TLS --- */
	{"all of it", MQ("amqps", "ca_file = \"good.pem\" cert_file = \"good.pem\" key_file = \"good.key\" tls_verify = ca tls_server_name = x") HANDLER, {{0}}},
	{"the key with the certificate", CACHE("rediss", "cert_file = \"both.pem\"") HANDLER, {{0}}},
	{"no file", MQ("amqps", "\nca_file = \"/nonexistent/ca\"") HANDLER, {{2, "error: rabbitmq \"m\": ca_file /nonexistent/ca: No such file"}}},
	{"no certificate", CACHE("rediss", "\nca_file = \"secret\"") HANDLER, {{2, "error: redis \"r\": ca_file secret: holds no certificate"}}},
	{"no key", MQ("amqps", "\ncert_file = \"good.pem\"") HANDLER, {{1, "error: rabbitmq \"m\": key_file good.pem: holds no private key"}}},
	{"another's key", MQ("amqps", "cert_file = \"good.pem\"\nkey_file = \"soon.key\"") HANDLER, {{2, "error: rabbitmq \"m\": key_file soon.key: is not the key of cert_file good.pem"}}},
	{"a key for no certificate", MQ("amqps", "\nkey_file = \"good.key\"") HANDLER, {{2, "error: rabbitmq \"m\": key_file needs a cert_file"}}},
	{"a key for everybody", MQ("amqps", "cert_file = \"good.pem\"\nkey_file = \"open.key\"") HANDLER, {{2, "warning: key_file open.key: everybody may read this private key"}}},
	{"the end is near", MQ("amqps", "\ncert_file = \"soon.pem\" key_file = \"soon.key\"") HANDLER, {{2, "warning: cert_file soon.pem: the certificate expires on 20"}}},
	{"or past", CACHE("rediss", "\nca_file = \"old.pem\"") HANDLER, {{2, "warning: ca_file old.pem: the certificate expired on 20"}}},
	{"no certificate is good enough", MQ("amqps", "\ntls_verify = none") HANDLER, {{2, "warning: rabbitmq \"m\": with tls_verify \"none\" anybody can pretend"}}},
	{"a forgotten s", MQ("amqp", "\nca_file = \"/nonexistent\"\ntls_verify = ca") HANDLER,
		{{2, "warning: rabbitmq \"m\": ca_file has no effect without an amqps:// address"}, {3, "warning: rabbitmq \"m\": tls_verify has no effect"}}},
	{"TLS for Unix sockets", "redis \"r\" { url = \"unix:///run/r.sock\"\ncert_file = \"x\" list \"l\" { handler = h } }" HANDLER,
		{{2, "warning: redis \"r\": cert_file has no effect without an rediss:// address"}}},
	{"external", MQ("amqps", "cert_file = \"both.pem\" auth = external") HANDLER, {{0}}},
	{"external without a certificate", MQ("amqps", "\nauth = external") HANDLER, {{2, "error: rabbitmq \"m\": auth \"external\" needs a cert_file"}}},
	{"external without TLS", MQ("amqp", "\nauth = external\ncert_file = \"both.pem\"") HANDLER,
		{{2, "error: rabbitmq \"m\": auth \"external\" takes TLS"}, {3, "warning: rabbitmq \"m\": cert_file has no effect"}}},
};
/* clang-format on */

/* --- a folder for the texts --- */

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void write_certificates(void)
{
	struct certificate good = certificate_make((struct wanted){.name = "good"});
	struct certificate soon =
	    certificate_make((struct wanted){.name = "soon", .from_s = -HOUR_S, .until_s = HOUR_S});
	struct certificate old =
	    certificate_make((struct wanted){.name = "old", .from_s = -2, .until_s = -1});
	certificate_write("good.pem", good.cert, NULL);
	certificate_write("good.key", NULL, good.key);
	certificate_write("both.pem", good.cert, good.key);
	certificate_write("open.key", NULL, good.key);
	certificate_write("soon.pem", soon.cert, NULL);
	certificate_write("soon.key", NULL, soon.key);
	certificate_write("old.pem", old.cert, NULL);
	(void)chmod("open.key", 0644);
	certificate_free(&good);
	certificate_free(&soon);
	certificate_free(&old);
}

static int set_up(void **state)
{
	static char folder[] = "/tmp/outfall-test-XXXXXX";
	*state = mkdtemp(folder);
	if (*state == NULL || chdir(folder) != 0)
		return -1;
	write_file("secret", SECRET "\n");
	write_file("lines", SECRET "\n" SECRET "\n");
	mode_t mask = umask(077);
	write_certificates();
	(void)umask(mask);
	(void)unsetenv("OUTFALL_TEST_UNSET");
	(void)setenv("OUTFALL_TEST_CONTROL", "a\001b", 1);
	(void)setenv("OUTFALL_TEST_SECRET", SECRET, 1);
	(void)setenv("OUTFALL_TEST_WORD", "plainword", 1);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"secret",   "lines",    "outfall.conf", "part.conf",
					    "good.pem", "good.key", "both.pem",     "open.key",
					    "soon.pem", "soon.key", "old.pem"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		(void)unlink(names[i]); /* some were never written */
	return chdir("/") != 0 || rmdir(*state) != 0;
}

/* --- one text --- */

static void print_found(const struct row *row, const struct problems *problems)
{
	print_error("--- %s: found\n", row->about);
	for (size_t i = 0; i < problems->count; i++)
		print_error(
		    "%s:%u: %s: %s\n", problems->list[i].place.file, problems->list[i].place.line,
		    problems->list[i].warning ? "warning" : "error", problems->list[i].text);
}

static bool matches(const struct problem *problem, const struct expected *expected)
{
	char text[400];
	(void)snprintf(text, sizeof text, "%s: %s", problem->warning ? "warning" : "error",
		       problem->text);
	return strcmp(problem->place.file, "outfall.conf") == 0 &&
	       problem->place.line == expected->line &&
	       strncmp(text, expected->text, strlen(expected->text)) == 0;
}

static bool is_as_expected(const struct row *row, const struct problems *problems)
{
	size_t n = 0;
	for (; row->expected[n].line != 0; n++)
		if (n >= problems->count || !matches(&problems->list[n], &row->expected[n]))
			return false;
	return problems->count == n;
}

static bool mention(const struct problems *problems, const char *text)
{
	for (size_t i = 0; i < problems->count; i++)
		if (strstr(problems->list[i].text, text) != NULL)
			return true;
	return false;
}

static bool try_row(const struct row *row)
{
	struct settings *settings = NULL;
	struct problems problems;
	write_file("outfall.conf", row->text);
	enum status st = settings_load(source_kinds, "outfall.conf", &settings, &problems);
	bool right = is_as_expected(row, &problems) && !mention(&problems, SECRET) &&
		     !mention(&problems, "plainword") && (st == ST_OK) == (problems.errors == 0) &&
		     (settings != NULL) == (st == ST_OK);
	if (!right)
		print_found(row, &problems);
	settings_destroy(settings);
	problems_free(&problems);
	return right;
}

static void test_rows(void **state)
{
	(void)state;
	size_t wrong = 0;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		wrong += !try_row(&rows[i]);
	assert_int_equal(wrong, 0);
}

/* --- what has no line --- */

static void assert_unreadable(const char *path, const char *why)
{
	struct settings *settings = NULL;
	struct problems problems;
	assert_int_equal(settings_load(source_kinds, path, &settings, &problems), ST_INVALID);
	assert_int_equal(problems.count, 1);
	assert_int_equal(problems.list[0].place.line, 0);
	assert_string_equal(problems.list[0].place.file, path);
	assert_non_null(strstr(problems.list[0].text, why));
	problems_free(&problems);
}

static void test_unreadable(void **state)
{
	(void)state;
	assert_unreadable("nowhere.conf", "No such file");
	assert_unreadable(".", "Is a directory");
	write_file("outfall.conf", "worker { name = \"a\002b\" }");
	assert_unreadable("outfall.conf", "no text");
	assert_unreadable("/bin/true", "no text");
	assert_unreadable("/dev/zero", "at most 1 MB");
}

/* Problems in included files come after those of the file itself, by line. */
static void test_included(void **state)
{
	(void)state;
	struct settings *settings = NULL;
	struct problems problems;
	write_file("outfall.conf", "# one\n" HANDLER "rabbitmq \"m\" { url = \"amqp://h\"\n"
				   "include(\"part.conf\") bogus = 1\n}\n\nbogus = 2\n");
	write_file("part.conf",
		   "# of it\nqueue \"q\" { dlx = true\n  handler = h\n  prio = 2\n}\n");
	assert_int_equal(settings_load(source_kinds, "outfall.conf", &settings, &problems),
			 ST_INVALID);
	static const struct {
		const char *file;
		unsigned line;
	} want[] = {
	    {"outfall.conf", 4},
            {"outfall.conf", 7},
            {"part.conf",    4}
        };
	assert_int_equal(problems.count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(problems.list[i].place.file, want[i].file);
		assert_int_equal(problems.list[i].place.line, want[i].line);
	}
	problems_free(&problems);
}

/* A broken text leaves nothing behind that the next one would stumble over. */
static void test_one_after_the_other(void **state)
{
	(void)state;
	static const struct row good = {"good again", GOOD, {{0}}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (rows[i].expected[0].line == 0)
			continue;
		assert_true(try_row(&rows[i]));
		assert_true(try_row(&good));
	}
}

/* Unknown keys without number end somewhere; so does the list of problems. */
static void test_without_number(void **state)
{
	(void)state;
	struct settings *settings = NULL;
	struct problems problems;
	FILE *file = fopen("outfall.conf", "w");
	assert_non_null(file);
	for (int i = 0; i < 5000; i++)
		(void)fprintf(file, "k%d = 1\nlog { level = loud }\n", i);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(settings_load(source_kinds, "outfall.conf", &settings, &problems),
			 ST_INVALID);
	assert_int_in_range(problems.count, 50, 200);
	problems_free(&problems);
}

/* What is told ends somewhere, what counts does not: an error behind them all is told, and is one. */
static void test_warnings_without_number(void **state)
{
	(void)state;
	struct settings *settings = NULL;
	struct problems problems;
	FILE *file = fopen("outfall.conf", "w");
	assert_non_null(file);
	assert_true(fputs(GOOD, file) >= 0);
	for (int i = 0; i < 300; i++)
		(void)fprintf(file, "retry \"r%d\" { }\n", i);
	assert_true(fputs("retry \"z\" { }\nretry \"z\" { }\n", file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(settings_load(source_kinds, "outfall.conf", &settings, &problems),
			 ST_INVALID);
	assert_int_equal(problems.errors, 1);
	assert_true(mention(&problems, "is there twice"));
	problems_free(&problems);
}

/* However much of anything, it is refused, and soon. */
static void assert_too_much(const char *before, const char *again, int times, const char *after,
			    const char *why)
{
	struct settings *settings = NULL;
	struct problems problems;
	FILE *file = fopen("outfall.conf", "w");
	assert_non_null(file);
	assert_true(fputs(before, file) >= 0);
	for (int i = 0; i < times; i++)
		assert_true(fputs(again, file) >= 0);
	assert_true(fputs(after, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(settings_load(source_kinds, "outfall.conf", &settings, &problems),
			 ST_INVALID);
	assert_true(mention(&problems, why));
	problems_free(&problems);
}

static void test_too_much(void **state)
{
	(void)state;
	assert_too_much("worker { name = \"", "x", 900000, "\" }", "longer than 64k");
	assert_too_much("worker { name = '", "x", 900000, "' }", "longer than 64k");
	assert_too_much("worker { name = {", "x,", 400000, "} }", "at most 1000 values");
	assert_too_much("bogus = {", "x,", 400000, "}", "at most 1000 values");
	assert_too_much("rabbitmq \"m\" {", "queue \"q\" {}\n", 50000, "}", "too many sections");
	assert_too_much("", "worker {", 100000, "", "nested too deeply");
	assert_too_much("a = ", "(", 900000, "", "unexpected token");
	assert_too_much("# ", "x", 10000000, "", "at most 1 MB");
}

/* --- rubbish --- */

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Every row, with some bytes exchanged, doubled or left out: it may say anything, but it returns. */
static void test_mutilated(void **state)
{
	(void)state;
	static const char marks[] = "{}()=,\"'\\$#/*+|\n \t\r.;";
	enum { ROUNDS = 3000 };
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t seed = round;
		char text[4096];
		const struct row *row = &rows[next_random(&seed) % (sizeof rows / sizeof *rows)];
		size_t len = (size_t)snprintf(text, sizeof text - 64, "%s" GOOD, row->text);
		for (uint32_t n = next_random(&seed) % 8 + 1; n > 0; n--) {
			size_t at = next_random(&seed) % len;
			uint32_t how = next_random(&seed) % 3;
			if (how == 0)
				text[at] = marks[next_random(&seed) % (sizeof marks - 1)];
			else if (how == 1)
				text[at] = text[next_random(&seed) % len];
			else if (at > 0)
				memmove(text + at - 1, text + at, len-- - at);
		}
		text[len] = '\0';
		write_file("outfall.conf", text);
		struct settings *settings = NULL;
		struct problems problems;
		enum status st = settings_load(source_kinds, "outfall.conf", &settings, &problems);
		if ((st == ST_OK) != (problems.errors == 0))
			fail_msg("round %u", round);
		settings_destroy(settings);
		problems_free(&problems);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_unreadable),
	    cmocka_unit_test(test_included),
	    cmocka_unit_test(test_one_after_the_other),
	    cmocka_unit_test(test_without_number),
	    cmocka_unit_test(test_too_much),
	    cmocka_unit_test(test_warnings_without_number),
	    cmocka_unit_test(test_mutilated),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
