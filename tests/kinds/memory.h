/* memory - a kind of source without a broker: its boxes hold the jobs that the configuration gives them, as long as the
 * worker lives. What a folder beside rabbitmq/ and redis/ has to bring, and no more.
 *
 *     memory "m" { url = "unix:///anything"  box "emails" { handler = "h"  jobs = {"one", "two"} } } */
#ifndef OUTFALL_TESTS_MEMORY_H
#define OUTFALL_TESTS_MEMORY_H

struct source_kind;

extern const struct source_kind memory_kind;

#endif
