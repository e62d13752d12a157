-- redis_delay: a producer adds a job that is not to be run before its time.
--
-- KEYS 1 delayed, 2 seq, 3 clients
-- ARGV 1 delay in ms, 2 body
-- Returns the ids of some connections on which idle workers block, when this job is the next one
--      due: they do not know of it yet, and CLIENT UNBLOCK makes them look.

local delayed, seq, clients = KEYS[1], KEYS[2], KEYS[3]

local member = id_text(take_ids(seq, 1)) .. ':' .. FRESH .. ':' .. ARGV[2]
redis.call('ZADD', delayed, now_ms() + ARGV[1], member)
if redis.call('ZRANGE', delayed, 0, 0)[1] ~= member then
	return {}
end
return some_blocked(clients)
