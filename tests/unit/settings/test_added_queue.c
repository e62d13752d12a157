/* Queues that come to a configuration in use and leave it: what is copied, what is compared, what is
 * adopted. The configuration they were read in is freed before anything is looked at. */
#include "settings/added_queue.h"
#include "settings/changes.h"
#include "settings/loaded.h"

#include "sources_of.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "loaded_text.h"

#define HANDLER "handler \"h\" { type = exec command = {\"/bin/true\"} }\n"
#define SECTION "rabbitmq \"m\" { url = \"amqp://h\" "
#define Q       "queue \"q\" { handler = h } "
#define P                                                                                          \
	"queue \"p\" { handler = h dead = \"grave\" prefetch = 9 retry = \"own\" rate = \"5/s\" "  \
	"} "
#define OWN "retry \"own\" { attempts = 9 }\n"

struct seen {
	struct settings *settings;
	struct added_queue *added;
	struct block *dropped;
	struct error why;
	char names[200];
};

static void note(struct seen *seen, const char *sign, const struct block *block)
{
	size_t used = strlen(seen->names);
	(void)snprintf(seen->names + used, sizeof seen->names - used, "%s%s ", sign, block->title);
}

static void went(void *arg, struct block *block)
{
	struct seen *seen = arg;
	note(seen, "-", block);
	seen->dropped = block;
	settings_drop(seen->settings, block);
}

static void came(void *arg, const struct block *block)
{
	struct seen *seen = arg;
	if (added_queue_create(seen->settings, block, &seen->added, &seen->why) != ST_OK) {
		note(seen, "!", block);
		return;
	}
	note(seen, "+", block);
	added_queue_join(seen->added);
}

static void count(void *arg, const struct change *change)
{
	(void)change;
	++*(unsigned *)arg;
}

/* What is told, and how many changes are left of which nothing was said. */
static struct seen take_over(struct settings *settings, const char *text, unsigned *ret_left)
{
	struct settings *after = load(text);
	struct seen seen = {.settings = settings};
	const struct queue_changes queues = {went, came, &seen};
	settings_compare_queues(settings, after, &queues);
	settings_adopt(settings, after);
	*ret_left = 0;
	settings_compare(settings, after, count, ret_left);
	settings_destroy(after);
	return seen;
}

static void what_came_is_copied(void **state)
{
	(void)state;
	unsigned left;
	struct settings *s = load(SECTION Q "}" HANDLER);
	struct seen seen = take_over(s, SECTION Q P "}" HANDLER OWN, &left);
	assert_string_equal(seen.names, "+p ");
	assert_int_equal(left, 1); /* the section of retries, which it has its own copy of */
	const struct block *block = added_queue_block(seen.added);
	const struct queue_settings *queue = block->fields;
	assert_string_equal(queue->name, "p");
	assert_string_equal(queue->dead, "grave");
	assert_int_equal(queue->prefetch, 9);
	assert_int_equal(queue->rate_interval_ns, 200 * 1000 * 1000);
	assert_ptr_equal(queue->handler, &s->handlers[0]);
	assert_string_equal(queue->retry->name, "own");
	assert_int_equal(queue->retry->attempts, 9);
	assert_string_equal(block->parent->title, "m");
	assert_int_equal(block->place.line, 1);
	settings_destroy(s); /* and whatever came to it */
}

static void it_is_adopted_like_any_other(void **state)
{
	(void)state;
	unsigned left;
	struct settings *s = load(SECTION Q "}" HANDLER);
	struct seen seen = take_over(s, SECTION Q P "}" HANDLER OWN, &left);
	const struct queue_settings *queue = added_queue_block(seen.added)->fields;
	seen =
	    take_over(s,
		      SECTION Q "queue \"p\" { handler = h rate = \"1/s\" prefetch = 3 }}" HANDLER
				"retry \"own\" { attempts = 2 }",
		      &left);
	assert_string_equal(seen.names, "");
	assert_int_equal(queue->rate_interval_ns, 1000 * 1000 * 1000);
	assert_int_equal(queue->retry->attempts, 2);
	assert_int_equal(queue->prefetch, 9); /* needs a restart, and so has to differ */
	assert_int_equal(left, 3 + 2); /* dead, prefetch, retry; and rate's text, the section's */
	settings_destroy(s);
}

static void what_went_can_come_again(void **state)
{
	(void)state;
	unsigned left;
	struct settings *s = load(SECTION Q P "}" HANDLER OWN);
	struct seen seen = take_over(s, SECTION Q "}" HANDLER OWN, &left);
	assert_string_equal(seen.names, "-p ");
	assert_string_equal(seen.dropped->title, "p");
	assert_int_equal(left, 0);
	for (int i = 0; i < 3; i++) {
		seen = take_over(s, SECTION P Q "}" HANDLER OWN, &left);
		assert_string_equal(seen.names, "+p ");
		assert_int_equal(left, 0);
		struct added_queue *added = seen.added;
		seen = take_over(s, SECTION Q "}" HANDLER OWN, &left);
		assert_string_equal(seen.names, "-p ");
		assert_ptr_equal(seen.dropped, added_queue_block(added));
		added_queue_destroy(added);
	}
	seen = take_over(s, SECTION P "}" HANDLER OWN, &left); /* the first and the last change */
	assert_string_equal(seen.names, "-q +p ");
	settings_destroy(s);
}

static const struct {
	const char *after, *names, *why;
} rows[] = {
    {SECTION Q "queue \"p\" { handler = n } }" HANDLER
	       "handler \"n\" { type = exec command = {\"/bin/true\"} }",	       "!p ",    "its handler \"n\" is new and takes a new worker"},
    {SECTION Q "}" HANDLER "redis \"m\" { url = \"redis://h\" list \"p\" { handler = h } }", "!p ",
     "its section is new and takes a new worker"													},
    {"redis \"m\" { url = \"redis://h\" list \"q\" { handler = h } }" HANDLER,               "-q !q ",
     "its section is new and takes a new worker"													},
};

static void what_lacks_something_is_told(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		unsigned left;
		struct settings *s = load(SECTION Q "}" HANDLER);
		struct seen seen = take_over(s, rows[i].after, &left);
		assert_string_equal(seen.names, rows[i].names);
		assert_string_equal(seen.why.text, rows[i].why);
		settings_destroy(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_came_is_copied),
	    cmocka_unit_test(it_is_adopted_like_any_other),
	    cmocka_unit_test(what_went_can_come_again),
	    cmocka_unit_test(what_lacks_something_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
