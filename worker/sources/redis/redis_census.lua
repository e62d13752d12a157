-- redis_census: how many other workers take from the list?
--
-- KEYS 1 workers, 2 clients
-- ARGV 1 worker
-- Returns their number: members whose lease runs and who have not said that they are quiet
--      (redis_renew.lua). One that is about to find its lease gone is not counted, and comes back.

local workers, clients = KEYS[1], KEYS[2]
local others = 0
for _, other in ipairs(redis.call('ZRANGEBYSCORE', workers, '(' .. now_ms(), '+inf')) do
	if other ~= ARGV[1] and redis.call('HGET', clients, other) ~= 'quiet' then
		others = others + 1
	end
end
return others
