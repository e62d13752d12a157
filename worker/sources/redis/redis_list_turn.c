/* A turn settles and claims in one step. Settles are grouped by fate, with a number for each group in
 * front; a job is named by its field, its facts (redis_job.lua), which is its origin as the core sees
 * it. Checkpoints travel apart from the jobs, because most have none. */
#include "sources/redis/redis_list_turn.h"

#include "base/must.h"
#include "base/text.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "sources/redis/redis_list_keys.h"
#include "sources/redis/redis_list_shared.h"
#include "sources/source.h"

#include <stdio.h>
#include <string.h>

/* --- what it is told ---------------------------------------------------------------------------- */

enum { GROUP_DONE, GROUP_RETRIED, GROUP_DEAD, GROUP_RETURNED, GROUPS };

static const struct {
	enum fate fate;
	size_t n_args;
} groups[GROUPS] = {
    [GROUP_DONE] = {FATE_DONE,     1},
    [GROUP_RETRIED] = {FATE_RETRIED,  3},
    [GROUP_DEAD] = {FATE_DEAD,     3},
    [GROUP_RETURNED] = {FATE_RETURNED, 2},
};

/* "attempt:interruptions.crashes", and ".lost" where a worker has died with it and it has not ended by itself
 * since. Nothing for one that goes back as it came. */
static void tell_counts(struct resp *redis, const struct job *job)
{
	const struct verdict *verdict = &job->verdict;
	bool returned = verdict->fate == FATE_RETURNED;
	char counts[64] = "", lost[16] = "";
	if (returned && job->lost > 0)
		(void)snprintf(lost, sizeof lost, ".%u", (unsigned)job->lost);
	if (!returned || job->begun_ns != 0)
		(void)snprintf(counts, sizeof counts, "%u:%u.%u%s", (unsigned)verdict->attempt,
			       (unsigned)verdict->interruptions, (unsigned)verdict->crashes, lost);
	resp_arg_text(redis, counts);
}

/* As JSON; empty: the handler said nothing. */
static void tell_error(struct resp *redis, const struct failure *failure)
{
	struct text error = {0};
	if (failure != NULL) {
		text_put_literal(&error, "{\"class\":");
		text_put_json(&error, failure->class);
		text_put_literal(&error, ",\"message\":");
		text_put_json(&error, failure->message);
		text_put_literal(&error, ",\"backtrace\":");
		text_put_json(&error, failure->backtrace);
		text_put_literal(&error, "}");
	}
	resp_arg(redis, error.failed ? span_of("", 0) : text_span(&error));
	text_fini(&error);
}

static void tell_one(struct resp *redis, const struct job *job)
{
	const struct verdict *verdict = &job->verdict;
	resp_arg(redis, job->origin);
	switch (verdict->fate) {
	case FATE_DEAD:
		resp_arg(redis, job_reason(job));
		tell_error(redis, job->failure);
		return;
	case FATE_RETRIED:
	case FATE_RETURNED:
		tell_counts(redis, job);
		if (verdict->fate == FATE_RETRIED)
			resp_arg_number(redis, (int64_t)verdict->delay_ms);
		return;
	case FATE_DONE:
		return;
	case FATE_UNSETTLED:
	case FATE_COUNT:
		break;
	}
	must(false && "a verdict says how to settle");
}

static bool ends(const struct job *job)
{
	return job->verdict.fate == FATE_DONE || job->verdict.fate == FATE_DEAD;
}

/* Whether the hash of checkpoints must learn of it: a job that ends takes its own along. */
static bool changes_checkpoint(const struct job *job)
{
	return ends(job) ? job->checkpoint.len > 0 : job_left_new_checkpoint(job);
}

static void tell_checkpoints(struct resp *redis, const struct list *jobs)
{
	list_each (it, jobs) {
		const struct job *job = list_entry(it, struct job, in_source);
		if (!changes_checkpoint(job))
			continue;
		resp_arg(redis, job->origin);
		resp_arg(redis, ends(job) ? span_of("", 0) : job_next_checkpoint(job));
	}
}

struct tally { /* of what is to be settled */
	size_t fates[FATE_COUNT];
	size_t checkpoints;
};

static struct tally count(const struct list *settles)
{
	struct tally tally = {0};
	list_each (it, settles) {
		const struct job *job = list_entry(it, struct job, in_source);
		tally.fates[job->verdict.fate]++;
		tally.checkpoints += changes_checkpoint(job);
	}
	return tally;
}

static size_t count_args(const struct tally *tally)
{
	size_t n = 8 + GROUPS + 2 * tally->checkpoints;
	for (int g = 0; g < GROUPS; g++)
		n += tally->fates[groups[g].fate] * groups[g].n_args;
	return n;
}

static void tell_group(struct resp *redis, const struct list *settles, enum fate fate)
{
	list_each (it, settles) {
		const struct job *job = list_entry(it, struct job, in_source);
		if (job->verdict.fate == fate)
			tell_one(redis, job);
	}
}

static void tell_settles(struct resp *redis, const struct list *settles, const struct tally *tally)
{
	for (int g = 0; g < GROUPS; g++)
		resp_arg_number(redis, (int64_t)tally->fates[groups[g].fate]);
	resp_arg_number(redis, (int64_t)tally->checkpoints);
	if (tally->checkpoints > 0)
		tell_checkpoints(redis, settles);
	for (int g = 0; g < GROUPS; g++)
		if (tally->fates[groups[g].fate] > 0)
			tell_group(redis, settles, groups[g].fate);
}

void redis_turn_send(struct redis_shared *shared, const struct redis_turn *turn,
		     resp_answered *answered, void *arg)
{
	const struct redis_keys *k = turn->keys;
	const char *keys[] = {k->list,    k->held,        k->workers, k->seq,
			      k->delayed, k->dead,        k->notes,   k->returned,
			      k->wake,    k->checkpoints, k->spare};
	struct resp *redis = shared->redis;
	struct tally tally = count(turn->settles);
	redis_shared_call(shared, SCRIPT_TURN, keys, COUNT_OF(keys), count_args(&tally), answered,
			  arg);
	resp_arg_text(redis, turn->name);
	resp_arg_number(redis, (int64_t)turn->lease_ms);
	resp_arg_number(redis, (int64_t)turn->claim);
	resp_arg_number(redis, (int64_t)shared->claim_bytes);
	resp_arg_number(redis, (int64_t)shared->max_body_bytes);
	resp_arg_number(redis, turn->lost_most);
	resp_arg_number(redis, (int64_t)turn->suspects);
	tell_settles(redis, turn->settles, &tally);
}

/* --- what its reply says ------------------------------------------------------------------------ */

enum {
	TURN_DUE = 1,
	TURN_DRY,
	TURN_BURIED,
	TURN_TROUBLE,
	TURN_PASSED_BY,
	TURN_MISSING,
	TURN_CHECKPOINTS,
	TURN_CLAIMED,
	TURN_ITEMS
};

bool redis_turn_is_answer(struct redis_shared *shared, const char *list, const struct reply *reply)
{
	return redis_shared_is_answer(shared, list, reply, TURN_ITEMS);
}

static struct redis_texts array_of(const struct reply *reply, size_t i)
{
	const struct reply *item = &reply->items[i];
	if (item->kind != REPLY_ARRAY)
		return (struct redis_texts){0};
	return (struct redis_texts){item->items, item->n_items};
}

struct redis_turn_news redis_turn_news(const struct reply *reply)
{
	if (redis_reply_number(reply, 0) == 0)
		return (struct redis_turn_news){.last_id = redis_reply_last_id(reply)};
	const struct reply *trouble = &reply->items[TURN_TROUBLE];
	return (struct redis_turn_news){
	    .member = true,
	    .due_ms = redis_reply_number(reply, TURN_DUE),
	    .dry = redis_reply_number(reply, TURN_DRY) != 0,
	    .buried = redis_reply_number(reply, TURN_BURIED),
	    .trouble = trouble->kind == REPLY_TEXT ? trouble->text : span_of("", 0),
	    .passed_by = (size_t)redis_reply_number(reply, TURN_PASSED_BY),
	    .missing = array_of(reply, TURN_MISSING),
	    .n_claimed = array_of(reply, TURN_CLAIMED).n / 2,
	};
}

static bool parse_number(struct span *text, uint32_t *ret_number)
{
	uint64_t number = 0;
	size_t i = 0;
	for (; i < text->len && text->ptr[i] >= '0' && text->ptr[i] <= '9'; i++) {
		number = number * 10 + (uint64_t)(text->ptr[i] - '0');
		if (number > UINT32_MAX)
			return false;
	}
	if (i == 0)
		return false;
	*ret_number = (uint32_t)number;
	*text = span_of(text->ptr + i, text->len - i);
	return true;
}

static bool parse_byte(struct span *text, char byte)
{
	if (text->len == 0 || *text->ptr != byte)
		return false;
	*text = span_of(text->ptr + 1, text->len - 1);
	return true;
}

enum { ID_MOST_DIGITS = 20 }; /* of a counter of 64 bits */

/* "id:attempt:interruptions.crashes.lost", without the last two where there are none (redis_job.lua). */
static bool parse_field(struct span field, struct job_facts *facts)
{
	const char *colon = memchr(field.ptr, ':', field.len);
	if (colon == NULL || colon == field.ptr)
		return false;
	facts->id = span_of(field.ptr, (size_t)(colon - field.ptr));
	if (facts->id.len > ID_MOST_DIGITS)
		return false;
	struct span rest = span_of(colon + 1, field.len - facts->id.len - 1);
	if (!parse_number(&rest, &facts->attempt) || !parse_byte(&rest, ':') ||
	    !parse_number(&rest, &facts->interruptions))
		return false;
	if (parse_byte(&rest, '.') && !parse_number(&rest, &facts->crashes))
		return false;
	if (parse_byte(&rest, '.') && !parse_number(&rest, &facts->lost))
		return false;
	return rest.len == 0;
}

/* What has been claimed: pairs of texts, of fields and checkpoints, and of fields and bodies. The
 * first are in the order of the second, so both are read from the front. */
struct claimed {
	const struct reply *checkpoint, *job;
	size_t n_checkpoints, n_jobs;
};

/* The checkpoint of the job with that field, if the next one is its. */
static struct span take_checkpoint(struct claimed *claimed, struct span field)
{
	const struct reply *pair = claimed->checkpoint;
	if (claimed->n_checkpoints == 0 || pair[0].kind != REPLY_TEXT ||
	    pair[1].kind != REPLY_TEXT || !span_equal(pair[0].text, field))
		return span_of("", 0);
	claimed->checkpoint += 2;
	claimed->n_checkpoints--;
	return pair[1].text;
}

uint64_t redis_id_of(struct span field)
{
	uint64_t number = 0;
	for (size_t i = 0; i < field.len && field.ptr[i] >= '0' && field.ptr[i] <= '9'; i++)
		number = number * 10 + (uint64_t)(field.ptr[i] - '0');
	return number;
}

/* The counter is the list's own, and handlers keep books of jobs by their ids. */
static struct span full_id(const struct route *route, struct span number, char *buf, size_t size)
{
	size_t len = strlen(route->name);
	if (len > size - 1 - number.len)
		len = size - 1 - number.len;
	memcpy(buf, route->name, len);
	buf[len] = '-';
	memcpy(buf + len + 1, number.ptr, number.len);
	return span_of(buf, len + 1 + number.len);
}

static enum status make_job(const struct redis_claimer *claimer, struct claimed *claimed,
			    struct list *jobs)
{
	const struct reply *field = &claimed->job[0], *body = &claimed->job[1];
	struct job_facts facts = {.route = claimer->route};
	char id[256];
	if (field->kind != REPLY_TEXT || body->kind != REPLY_TEXT ||
	    !parse_field(field->text, &facts))
		return ST_PROTO;
	facts.serial = claimer->host->next_serial(claimer->host);
	if (redis_id_of(facts.id) > *claimer->last_id)
		*claimer->last_id = redis_id_of(facts.id);
	facts.id = full_id(claimer->route, facts.id, id, sizeof id);
	facts.redelivered = facts.interruptions > 0;
	facts.checkpoint = take_checkpoint(claimed, field->text);
	facts.origin = field->text;
	facts.body_bytes = body->text.len;
	struct job *job = job_create(&facts);
	if (job == NULL)
		return ST_NOMEM;
	if (body->text.len > 0)
		memcpy(job_body(job), body->text.ptr, body->text.len);
	job->source_epoch = claimer->epoch;
	list_append(jobs, &job->in_source);
	return ST_OK;
}

static enum status read_claimed(const struct reply *reply, struct claimed *ret_claimed)
{
	struct redis_texts checkpoints = array_of(reply, TURN_CHECKPOINTS);
	struct redis_texts jobs = array_of(reply, TURN_CLAIMED);
	if (checkpoints.n % 2 != 0 || jobs.n % 2 != 0 ||
	    reply->items[TURN_CLAIMED].kind != REPLY_ARRAY)
		return ST_PROTO;
	*ret_claimed = (struct claimed){
	    .checkpoint = checkpoints.items,
	    .n_checkpoints = checkpoints.n / 2,
	    .job = jobs.items,
	    .n_jobs = jobs.n / 2,
	};
	return ST_OK;
}

/* All of them or none, so that what we do not know is exactly what redis_undo.lua puts back. */
enum status redis_turn_take_claimed(const struct reply *reply, const struct redis_claimer *claimer,
				    struct list *jobs)
{
	struct claimed claimed;
	enum status st = read_claimed(reply, &claimed);
	for (; st == ST_OK && claimed.n_jobs > 0; claimed.n_jobs--, claimed.job += 2)
		st = make_job(claimer, &claimed, jobs);
	if (st == ST_OK)
		return ST_OK;
	struct list *it;
	while ((it = list_take_first(jobs)) != NULL)
		job_destroy(list_entry(it, struct job, in_source));
	return st;
}
