-- redis_renew: a worker says that it lives, and brings back the jobs of workers that do not.
--
-- KEYS 1 list, 2 workers, 3 delayed, 4 history, 5 clients (HASH worker -> id of the connection on
--      which it blocks, for `outfall enqueue --delay` to wake it), 6 checkpoints
-- ARGV 1 worker, 2 lease in ms, 3 "join", "renew" or "bring back" (renew, and look after the others;
--      only from a worker that has been a member for a whole lease without a break), 4 id of the blocking
--      connection, "" (it has none) or "quiet" (it takes nothing),
--      5 what the keys of held hashes begin with, 6 the same for wake lists
-- Returns {1, ms until a delayed job is due (-1: none), jobs brought back, workers they came from},
--      or {0} when the worker asked to renew a lease it no longer has.
--
-- Invariants
--   * A worker's jobs are brought back in the same step that ends its membership, so they come back
--     exactly once, and a worker that was only slow finds itself shut out (redis_turn: {0}).
--   * A worker whose own lease had run out, or that has come or come back less than a lease ago,
--     judges nobody: it may have been the server that stood still, and the others are about to come
--     back as well.
--   * They go to the head, by id, and each counts one interruption, begun or not: nobody is left who
--     could tell. None counts a crash or an attempt, so a job that kills its worker each time is not
--     found out here, and its neighbours are not blamed for it. A body still in a wake list was the
--     youngest of them and was never delivered.
--   * They keep their ids, and with them the checkpoints that earlier runs left. What the runs that
--     died had left was in the worker's memory, and is gone.
--
-- The held hash and wake list of another worker are not in KEYS: their names are known only once
-- `workers` was read. They share the hash tag of the keys that are, and so their slot.

local list, workers, delayed, history, clients = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local checkpoints = KEYS[6]
local worker, lease, client = ARGV[1], tonumber(ARGV[2]), ARGV[4]

redis.call('HDEL', clients, '') -- a first write that needs no memory: see redis_turn.lua
local now = now_ms()
local expiry = redis.call('ZSCORE', workers, worker)
if ARGV[3] ~= 'join' and not expiry then
	return {0}
end
redis.call('ZADD', workers, now + lease, worker)
if client ~= '' then
	redis.call('HSET', clients, worker, client)
else
	redis.call('HDEL', clients, worker)
end

local function bring_back(held, wake)
	while redis.call('LMOVE', wake, list, 'RIGHT', 'RIGHT') do end
	local jobs = jobs_by_id(redis.call('HGETALL', held))
	for _, job in ipairs(jobs) do
		job[2] = interrupted_once_more(job[2])
	end
	put_back(list, history, checkpoints, jobs)
	redis.call('DEL', held)
	return #jobs
end

local expired = {}
if ARGV[3] == 'bring back' and tonumber(expiry) > now then
	expired = redis.call('ZRANGEBYSCORE', workers, '-inf', now, 'LIMIT', 0, 100)
end
local brought_back, from_workers = 0, 0
for _, other in ipairs(expired) do
	local n = bring_back(ARGV[5] .. other, ARGV[6] .. other)
	redis.call('HDEL', clients, other)
	redis.call('ZREM', workers, other)
	brought_back = brought_back + n
	if n > 0 then
		from_workers = from_workers + 1
	end
end
return {1, next_due(delayed, now), brought_back, from_workers}
