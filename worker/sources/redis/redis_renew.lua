-- redis_renew: a worker says that it lives, and brings back the jobs of workers that do not.
--
-- KEYS 1 list, 2 workers, 3 delayed, 4 returned, 5 clients (HASH worker -> id of the connection on which it
--      blocks, for others to wake it), 6 held, 7 wake (both its own), 8 seq
-- ARGV 1 worker, 2 lease in ms, 3 "join", "renew" or "bring back" (renew, and look after the others;
--      only from a worker that has been a member for a whole lease without a break), 4 id of the blocking
--      connection, "" (it has none) or "quiet" (it takes nothing),
--      5 what the keys of held hashes begin with, 6 the same for wake lists
-- Returns {1, last id given out, ms until a delayed job is due (-1: none), jobs brought back, workers they
--      came from, 1 if there are more to be brought back}, or {0, last id} when the worker asked to renew a
--      lease it no longer has.
--
-- Invariants
--   * The first portion of a worker's jobs is brought back in the step that ends its membership, and nobody
--     can renew it from then on; so they come back exactly once, and a worker that was only slow finds itself
--     shut out (redis_turn: {0}).
--   * A worker whose own lease had run out judges nobody: it may have been the server that stood still,
--     and the others are about to come back as well. For the same reason one that has come less than a
--     lease ago waits until another has been away for a second lease, and one that is only joining for a third:
--     so workers that never live for long bring back each other's jobs, too.
--   * They go to the head, by id. Each counts an interruption and a lost worker, begun or not: nobody is left who could tell. A body
--     still in a wake list was the youngest and was never delivered.
--   * They keep their ids, and with them the checkpoints that earlier runs left. What the runs that
--     died had left was in the worker's memory, and is gone.
--   * No call holds the server for long: PORTION jobs or PORTION_BYTES, the rest with the next call.
--
-- The held hash and wake list of another worker are not in KEYS: their names are known only once
-- `workers` was read. They share the hash tag of the keys that are, and so their slot.

local list, workers, delayed, returned, clients = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local seq = KEYS[8]
local worker, lease, how, client = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local PORTION, PORTION_BYTES = 1000, 2 * 1024 * 1024

redis.call('HDEL', clients, '') -- a first write that needs no memory: see redis_turn.lua
local now = now_ms()
local expiry = lease_of(workers, worker, KEYS[6], KEYS[7])
if how ~= 'join' and not expiry then
	return {0, last_id(seq)}
end
redis.call('ZADD', workers, now + lease, worker)
if client ~= '' then
	redis.call('HSET', clients, worker, client)
else
	redis.call('HDEL', clients, worker)
end

local jobs_left, bytes_left = PORTION, PORTION_BYTES

-- The youngest first, so that each portion goes in front of the one before.
local function fields_of(held)
	local fields = redis.call('HKEYS', held)
	table.sort(fields, function(a, b)
		return tonumber((split_facts(a))) > tonumber((split_facts(b)))
	end)
	return fields
end

-- Returns how many of its jobs are back; what is left of them comes with a later call.
local function bring_back(other)
	local held = ARGV[5] .. other
	redis.call('ZADD', workers, CONDEMNED, other)
	redis.call('HDEL', clients, other)
	empty_wake(ARGV[6] .. other, list)
	local fields = fields_of(held)
	local jobs, taken = {}, {}
	for _, field in ipairs(fields) do
		if jobs_left <= 0 or bytes_left <= 0 then
			break
		end
		local body = redis.call('HGET', held, field)
		local id, counts = split_facts(field)
		jobs[#jobs + 1] = {id, lost_once_more(counts), body}
		taken[#taken + 1] = field
		jobs_left = jobs_left - 1
		bytes_left = bytes_left - #body
	end
	sort_by_id(jobs)
	put_back(list, returned, jobs)
	push_all('HDEL', held, taken)
	if #taken == #fields then
		redis.call('ZREM', workers, other)
	end
	return #taken
end

local function judged_until()
	if how == 'join' then
		return now - 2 * lease
	elseif expiry <= now then
		return CONDEMNED
	elseif how == 'bring back' then
		return now
	end
	return now - lease
end

local brought_back, from_workers = 0, 0
for _, other in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', judged_until(), 'LIMIT', 0, 100)) do
	if jobs_left > 0 and bytes_left > 0 then
		local n = bring_back(other)
		brought_back = brought_back + n
		if n > 0 then
			from_workers = from_workers + 1
		end
	end
end
local more = (jobs_left <= 0 or bytes_left <= 0) and 1 or 0
return {1, last_id(seq), next_due(delayed, now), brought_back, from_workers, more}
