-- redis_reclaim: a worker claims again what the server has forgotten that it had claimed.
--
-- KEYS 1 list, 2 held, 3 workers, 4 returned, 5 wake, 6 seq, 7 delayed
-- ARGV 1 worker, 2 lease in ms, then field, body of each job
-- Returns {1, last id, fields of jobs that are not there ...}, or {0, last id} when the worker holds no lease.
--
-- Replication is asynchronous, and so is a disk. A replica that was promoted, or a server that starts with older data, still has
-- these jobs where they were before they were claimed, and would give them out a second time. A delayed one is found by its facts.
-- Any other lies in the list as a raw body: of those that look the same it
-- does not matter which is taken, for each stands for one run. It was at the head, so nobody need search far for it. A
-- server without any data (no id was ever given out) has lost the job: the worker's own copy is the only one.

local list, held, workers, returned, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local seq, delayed = KEYS[6], KEYS[7]
local worker, lease = ARGV[1], tonumber(ARGV[2])
local SEARCH_MOST = 10000

redis.call('HDEL', held, '') -- a first write that needs no memory: see redis_turn.lua
if not lease_of(workers, worker, held, wake) then
	return {0, last_id(seq)}
end
redis.call('ZADD', workers, now_ms() + lease, worker)

local function take_from_list(body)
	if redis.call('LPOS', list, body, 'RANK', -1, 'MAXLEN', SEARCH_MOST) then
		return redis.call('LREM', list, -1, body) == 1
	end
	return false
end

local function take(field, body)
	if redis.call('ZREM', delayed, field .. ':' .. body) == 1 then
		return true
	end
	redis.call('ZREM', returned, field .. ':' .. check_of(body))
	return take_from_list(body)
end

local newest = last_id(seq)
local is_empty = newest == 0
local reply = {1, newest}
for i = 3, #ARGV, 2 do
	local field, body = ARGV[i], ARGV[i + 1]
	if redis.call('HEXISTS', held, field) == 1 or take(field, body) or is_empty then
		redis.call('HSET', held, field, body)
		newest = math.max(newest, tonumber((split_facts(field))))
	else
		reply[#reply + 1] = field
	end
end
redis.call('SET', seq, id_text(newest))
reply[2] = newest
return reply
