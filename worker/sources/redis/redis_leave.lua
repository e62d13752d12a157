-- redis_leave: a worker ends its membership.
--
-- KEYS 1 list, 2 held, 3 workers, 4 wake, 5 clients, 6 returned, 7 delayed
-- ARGV 1 worker, then the fields of jobs that have run and could not be settled
-- Returns {1, jobs put back, ids of connections to unblock ...}. {0, ...} when it still holds jobs, those it named: then it
--      stays a member until its lease runs out, and another worker brings them back (redis_renew.lua).
--
-- Whatever else it has claimed never ran, and goes back now. Somebody is woken if there are delayed jobs:
-- the others know of its retries only from their next renewal on.

local list, held, workers, wake, clients = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local returned, delayed = KEYS[6], KEYS[7]
local worker = ARGV[1]

redis.call('HDEL', clients, worker) -- a first write that needs no memory: see redis_turn.lua
empty_wake(wake, list)
local known = {}
for i = 2, #ARGV do
	known[ARGV[i]] = true
end
local reply = {1, put_back_unknown(list, returned, held, known)}
if redis.call('EXISTS', held) == 1 then
	reply[1] = 0
else
	redis.call('ZREM', workers, worker)
end
if redis.call('EXISTS', delayed) == 1 then
	for _, id in ipairs(some_blocked(clients)) do
		reply[#reply + 1] = id
	end
end
return reply
