/* Whatever a script answers besides an array of numbers is trouble with the link: a server that is
 * loading or a replica, scripts flushed, an ACL. A new connection and its login sort that out. */
#include "sources/redis/redis_list_shared.h"

#include "loop/loop.h"
#include "wire/url.h"

/* The timer is only there so that somebody looks; it is not begun anew for each renewal. */
void redis_shared_check_leases_at(struct redis_shared *shared, uint64_t at_ns)
{
	uint64_t now_ns = loop_now_ns(shared->loop);
	if (at_ns < shared->lease_check_ns)
		shared->lease_check_ns = at_ns;
	if (!timer_armed(shared->lease_timer))
		timer_start(shared->lease_timer,
			    at_ns > now_ns ? (at_ns - now_ns) / 1000000 + 1 : 1);
}

void redis_shared_call(struct redis_shared *shared, enum redis_script script,
		       const char *const *keys, size_t n_keys, size_t n_args,
		       resp_answered *answered, void *arg)
{
	redis_script_call(shared->redis, &shared->scripts[script], keys, n_keys, n_args, answered,
			  arg);
}

static bool is_elsewhere(const struct reply *error)
{
	struct url_node node;
	return resp_redirect(error->text, "", &node) != REDIRECT_NONE;
}

bool redis_shared_is_answer(struct redis_shared *shared, const char *list,
			    const struct reply *reply, size_t n_items)
{
	struct error why;
	if (reply->kind == REPLY_ARRAY && reply->n_items >= 1 &&
	    reply->items[0].kind == REPLY_NUMBER &&
	    (reply->items[0].number == 0 || reply->n_items >= n_items))
		return true;
	if (reply->kind == REPLY_ERROR && !shared->is_cluster && is_elsewhere(reply))
		(void)error_set(
		    &why, ST_REFUSED,
		    "list \"%s\": it is on another node of a Redis Cluster (%.*s): write "
		    "redis+cluster:// where the address has redis://",
		    list, (int)reply->text.len, reply->text.ptr);
	else if (reply->kind == REPLY_ERROR)
		(void)error_set(&why, resp_error_status(reply->text), "list \"%s\": %.*s", list,
				(int)reply->text.len, reply->text.ptr);
	else
		(void)error_set(&why, ST_PROTO, "list \"%s\": a reply that makes no sense", list);
	bool lasting = why.status == ST_REFUSED || why.status == ST_AUTH;
	if (!lasting || !shared->refused(shared, list, &why))
		shared->link_failed(shared, &why);
	return false;
}

uint64_t redis_reply_last_id(const struct reply *reply)
{
	int64_t id = reply->n_items > 1 ? redis_reply_number(reply, 1) : 0;
	return id > 0 ? (uint64_t)id : 0;
}

int64_t redis_reply_number(const struct reply *reply, size_t i)
{
	return reply->items[i].kind == REPLY_NUMBER ? reply->items[i].number : 0;
}
