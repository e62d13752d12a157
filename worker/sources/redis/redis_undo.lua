-- redis_undo: puts back whatever a worker has claimed and knows nothing of.
--
-- KEYS 1 list, 2 held, 3 workers, 4 returned, 5 wake, 6 seq
-- ARGV 1 worker, 2 lease in ms, then the fields of all jobs that the worker does know
-- Returns {1, last id given out, jobs put back, fields of jobs that the worker does know and the server
--      does not ...}, or {0, last id} when the worker holds no lease.
--
-- For a worker that comes back after its connection broke, or after its lease ran out without anybody having
-- noticed: the reply to its last claim may have been lost, and what it had not begun it may have
-- let go of. None of these jobs has run, so nothing is counted. The wake list is emptied too: the connection
-- whose BLMOVE filled it may have died without a word.
--
-- A job that only the worker knows was settled by a call whose reply was lost; or its id is higher than the
-- last that the server has given out. Then this is another server than the one it was claimed from, or the
-- same with older data (redis_reclaim.lua).

local list, held, workers, returned, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local seq = KEYS[6]
local worker, lease = ARGV[1], tonumber(ARGV[2])

redis.call('HDEL', held, '') -- a first write that needs no memory: see redis_turn.lua
if not lease_of(workers, worker, held, wake) then
	return {0, last_id(seq)}
end
redis.call('ZADD', workers, now_ms() + lease, worker)
empty_wake(wake, list)

local known, reply = {}, {1, last_id(seq), 0}
for i = 3, #ARGV do
	known[ARGV[i]] = true
	if redis.call('HEXISTS', held, ARGV[i]) == 0 then
		reply[#reply + 1] = ARGV[i]
	end
end
reply[3] = put_back_unknown(list, returned, held, known)
return reply
