-- redis_undo: puts back whatever a worker has claimed and knows nothing of.
--
-- KEYS 1 list, 2 held, 3 workers, 4 history, 5 wake, 6 checkpoints
-- ARGV 1 worker, 2 lease in ms, then the fields of all jobs that the worker does know
-- Returns {1, jobs put back, fields of jobs that the worker does know and the server does not ...}, or {0}
--      when the worker holds no lease.
--
-- For a worker that comes back after its connection broke: the reply to its last claim may have been
-- lost, and what it had not begun it may have let go of. None of these jobs has run, so nothing is
-- counted. The wake list is emptied too: the connection whose BLMOVE filled it may have died without
-- a word.
--
-- A job that only the worker knows was settled by a call whose reply was lost, or this is another server
-- than the one it was claimed from: a replica that was promoted before it had heard of the claim.

local list, held, workers, history, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local checkpoints = KEYS[6]
local worker, lease = ARGV[1], tonumber(ARGV[2])

redis.call('HDEL', held, '') -- a first write that needs no memory: see redis_turn.lua
if not redis.call('ZSCORE', workers, worker) then
	return {0}
end
redis.call('ZADD', workers, now_ms() + lease, worker)
while redis.call('LMOVE', wake, list, 'RIGHT', 'RIGHT') do end

local known, reply = {}, {1, 0}
for i = 3, #ARGV do
	known[ARGV[i]] = true
	if redis.call('HEXISTS', held, ARGV[i]) == 0 then
		reply[#reply + 1] = ARGV[i]
	end
end
local fields, found = {}, {}
for _, field in ipairs(redis.call('HKEYS', held)) do
	if not known[field] then
		fields[#fields + 1] = field
		found[#found + 1] = field
		found[#found + 1] = redis.call('HGET', held, field)
	end
end
put_back(list, history, checkpoints, jobs_by_id(found))
push_all('HDEL', held, fields)
reply[2] = #fields
return reply
