/* limit_redis - the tightest loop that claims and completes jobs with the worker's own script.
 *
 *     limit_redis PORT LIST JOBS
 *
 * Blocking hiredis, one connection, one EVALSHA after the other: each completes the 64 jobs of the
 * call before and claims 64 more. No lease is renewed but by the script itself, no handler runs,
 * nothing is remembered beyond the reply. The clock runs from the first call to the last reply. */
#include "measure.h"
#include "redis_job.lua.h"
#include "redis_turn.lua.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

enum {
	BATCH = 64,
	KEYS = 11,
	FIXED =
	    3 + KEYS + 12, /* EVALSHA, hash, number of keys; keys; what stands before the jobs */
	REPLY_CLAIMED = 8,
};

struct arguments {
	const char *text[FIXED + BATCH];
	size_t len[FIXED + BATCH];
	int count;
};

static void add(struct arguments *args, const char *text, size_t len)
{
	args->text[args->count] = text;
	args->len[args->count++] = len;
}

static void add_text(struct arguments *args, const char *text)
{
	add(args, text, strlen(text));
}

static redisReply *check(redisReply *reply)
{
	if (reply != NULL && reply->type != REDIS_REPLY_ERROR)
		return reply;
	fprintf(stderr, "limit_redis: %s\n", reply != NULL ? reply->str : "connection lost");
	exit(1);
}

static char *load_script(redisContext *redis)
{
	char *script = malloc(strlen(redis_job_lua) + strlen(redis_turn_lua) + 1);
	if (script == NULL)
		abort();
	strcat(strcpy(script, redis_job_lua), redis_turn_lua);
	redisReply *reply = check(redisCommand(redis, "SCRIPT LOAD %s", script));
	char *hash = strdup(reply->str);
	freeReplyObject(reply);
	free(script);
	return hash;
}

/* Everything up to the number of jobs done; the keys stand in the order redis_turn.lua names. */
static void prepare(struct arguments *args, const char *hash, char keys[KEYS][256])
{
	static const char *const head[] = {
	    "limit", "15000", "64", "1000000000", "1000000000", "5", "0",
	};
	add_text(args, "EVALSHA");
	add_text(args, hash);
	add_text(args, "11");
	for (int i = 0; i < KEYS; i++)
		add_text(args, keys[i]);
	for (size_t i = 0; i < sizeof head / sizeof *head; i++)
		add_text(args, head[i]);
}

static void name_keys(char keys[KEYS][256], const char *list)
{
	static const char *const suffixes[KEYS] = {
	    "",      "held:limit", "workers",    "seq",         "delayed", "dead",
	    "notes", "returned",   "wake:limit", "checkpoints", "dead",
	};
	snprintf(keys[0], sizeof keys[0], "%s", list);
	for (int i = 1; i < KEYS; i++)
		snprintf(keys[i], sizeof keys[i], "{%s}:%s", list, suffixes[i]);
}

static redisReply *turn(redisContext *redis, struct arguments *args)
{
	return check(redisCommandArgv(redis, args->count, args->text, args->len));
}

/* The fields of the jobs in `claimed` are what the next call completes. */
static size_t complete(struct arguments *args, const redisReply *claimed, char *number, size_t size)
{
	const redisReply *pairs = claimed != NULL ? claimed->element[REPLY_CLAIMED] : NULL;
	size_t jobs = pairs != NULL ? pairs->elements / 2 : 0;
	snprintf(number, size, "%zu", jobs);
	add_text(args, number);
	add_text(args, "0");
	add_text(args, "0");
	add_text(args, "0");
	add_text(args, "0");
	for (size_t i = 0; i < jobs; i++) {
		const redisReply *field = pairs->element[2 * i];
		add(args, field->str, (size_t)field->len);
	}
	return jobs;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: limit_redis PORT LIST JOBS\n");
		return 64;
	}
	unsigned long jobs = strtoul(argv[3], NULL, 10), done = 0;
	redisContext *redis = redisConnect("127.0.0.1", atoi(argv[1]));
	if (redis == NULL || redis->err) {
		fprintf(stderr, "limit_redis: cannot connect to port %s\n", argv[1]);
		return 1;
	}
	char keys[KEYS][256];
	name_keys(keys, argv[2]);
	char *hash = load_script(redis);
	freeReplyObject(check(redisCommand(redis, "ZADD %s 99999999999999 limit", keys[2])));
	struct arguments head = {0};
	prepare(&head, hash, keys);

	redisReply *claimed = NULL;
	struct measure start = measure_now();
	while (done < jobs) {
		struct arguments args = head;
		char number[24];
		done += complete(&args, claimed, number, sizeof number);
		redisReply *reply = turn(redis, &args);
		freeReplyObject(claimed);
		claimed = reply;
	}
	measure_print(stdout, &start, jobs);

	freeReplyObject(claimed);
	free(hash);
	redisFree(redis);
	return 0;
}
