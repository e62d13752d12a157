-- redis_leave: a worker that holds nothing ends its membership.
--
-- KEYS 1 list, 2 held, 3 workers, 4 wake, 5 clients
-- ARGV 1 worker
-- Returns 1; 0 when it still holds jobs: then it stays a member until its lease runs out, and
--      another worker brings them back (redis_renew.lua).

local list, held, workers, wake, clients = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

redis.call('HDEL', clients, ARGV[1])
while redis.call('LMOVE', wake, list, 'RIGHT', 'RIGHT') do end
if redis.call('HLEN', held) > 0 then
	return 0
end
redis.call('ZREM', workers, ARGV[1])
return 1
