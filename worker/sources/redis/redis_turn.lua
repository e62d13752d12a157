-- redis_turn: settles what a worker has finished and claims more, in one step.
--
-- KEYS 1 list     LIST  raw bodies; producers LPUSH, the right end is the head
--      2 held     HASH  jobs this worker has claimed: facts -> body (see redis_put_back.lua)
--      3 workers  ZSET  worker -> when its lease runs out, ms of the server's clock
--      4 seq      counter of ids
--      5 delayed  ZSET  "facts:body", by when it is due in ms
--      6 dead     LIST  raw bodies, the newest left
--      7 notes    LIST  JSON lines {id, attempt, reason, at}, the newest 1000, the newest left
--      8 history  HASH  fingerprint of a body -> facts; see redis_put_back.lua
--      9 wake     LIST  what this worker's BLMOVE has moved: at most one body
--     10 checkpoints  HASH  id -> what its last run left for the next
-- ARGV 1 worker, 2 lease in ms, 3 jobs to claim (0: none),
--      4 bytes to claim at most (but at least one job), 5 largest body to hand out,
--      6 number of jobs done, 7 retried, 8 dead, 9 returned, 10 of checkpoints; then, for each
--      checkpoint  field, bytes; no bytes: forget the one it has. The job itself is one of the others
--      done        field
--      retried     field, its new counts, delay in ms
--      dead        field, reason
--      returned    field, its new counts, "!" behind them if it had begun; the head of the list first
-- Returns {1, ms until a delayed job is due (-1: none), 1 if the list ran dry, bodies buried as too
--          large, error or "", n, then n times field and checkpoint, then field, body, field, body,
--          ...}, or {0} when the worker holds no lease: then nothing was done, and whatever it held
--          has gone back to the list. Checkpoints are in the order of the jobs that have one.
--
-- Invariants
--   * A job is in exactly one of: list, held, wake, delayed, dead. It is put into its next place
--     before it leaves the last one.
--   * Settling twice is harmless: a field that is no longer in `held` was settled by the same call,
--     made before the connection broke. That goes for its checkpoint too, which somebody else may
--     have replaced by now.
--   * A checkpoint is there before its job can be claimed again, and goes with the job.
--   * The first command is a write that needs no memory. Under maxmemory Redis refuses a script
--     only at its first write, so neither a lease nor a half-done claim is lost to OOM.
--   * All keys share one hash tag (see redis_list_keys.h), so that this works in a cluster.

local list, held, workers, seq, delayed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local dead, notes, history, wake, checkpoints = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local worker, lease, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local bytes_left, largest = tonumber(ARGV[4]), tonumber(ARGV[5])
local NOTES = 1000

redis.call('HDEL', held, '')
local now = now_ms()
local expiry = redis.call('ZSCORE', workers, worker)
if not expiry then
	return {0}
end
-- A lease that has run out is left to redis_renew.lua, which must see that it has.
local left = tonumber(expiry) - now
if left > 0 and left < lease * 0.9 then
	redis.call('ZADD', workers, now + lease, worker)
end

local arg = 11 -- the next argument to be read

local function keep_checkpoint(id, bytes)
	if bytes == '' then
		redis.call('HDEL', checkpoints, id)
		return
	end
	redis.call('HSET', checkpoints, id, bytes)
	redis.call('EXPIRE', checkpoints, HISTORY_SECONDS)
end

local function keep_checkpoints(n)
	for _ = 1, n do
		local field, bytes = ARGV[arg], ARGV[arg + 1]
		if redis.call('HEXISTS', held, field) == 1 then
			keep_checkpoint(split_facts(field), bytes)
		end
		arg = arg + 2
	end
end

local function drop_done(n)
	for from = arg, arg + n - 1, PIECE do
		redis.call('HDEL', held, unpack(ARGV, from, math.min(from + PIECE - 1, arg + n - 1)))
	end
	arg = arg + n
end

local function delay_retried(n)
	for _ = 1, n do
		local field, counts = ARGV[arg], ARGV[arg + 1]
		local body = redis.call('HGET', held, field)
		if body then
			local id = split_facts(field)
			redis.call('ZADD', delayed, now + ARGV[arg + 2], id .. ':' .. counts .. ':' .. body)
			redis.call('HDEL', held, field)
		end
		arg = arg + 3
	end
end

local function bury(id, counts, body, reason)
	local attempt = tonumber(string.match(counts, '^%d+'))
	redis.call('LPUSH', dead, body)
	redis.call('LPUSH', notes, cjson.encode({id = list .. '-' .. id, attempt = attempt, reason = reason, at = now}))
	redis.call('LTRIM', notes, 0, NOTES - 1)
end

local function bury_dead(n)
	for _ = 1, n do
		local field, reason = ARGV[arg], ARGV[arg + 1]
		local body = redis.call('HGET', held, field)
		if body then
			local id, counts = split_facts(field)
			bury(id, counts, body, reason)
			redis.call('HDEL', held, field)
		end
		arg = arg + 2
	end
end

local function return_unfinished(n)
	local jobs, fields, some_begun = {}, {}, false
	for _ = 1, n do
		local field = ARGV[arg]
		local body = redis.call('HGET', held, field)
		if body then
			local id = split_facts(field)
			local counts, begun = string.match(ARGV[arg + 1], '^([^!]*)(!?)')
			jobs[#jobs + 1] = {id, counts, body, begun ~= ''}
			some_begun = some_begun or begun ~= ''
			fields[#fields + 1] = field
		end
		arg = arg + 2
	end
	if some_begun then -- they come as they have ended
		sort_by_id(jobs)
	end
	put_back(list, history, checkpoints, jobs)
	push_all('HDEL', held, fields)
end

keep_checkpoints(tonumber(ARGV[10]))
drop_done(tonumber(ARGV[6]))
delay_retried(tonumber(ARGV[7]))
bury_dead(tonumber(ARGV[8]))
return_unfinished(tonumber(ARGV[9]))

if wanted == 0 then
	-- A BLMOVE that came late, after the worker had ceased to take jobs: back to where it was.
	redis.call('LMOVE', wake, list, 'RIGHT', 'RIGHT')
	return {1, next_due(delayed, now), 0, 0, '', 0}
end

local claimed = {} -- field, body, ...: what goes into `held`
local left = {} -- field, checkpoint, ...: of those among them that have one
local some_left_one = redis.call('EXISTS', checkpoints) == 1
local buried = 0
local trouble = ''

local function has_room()
	return #claimed < 2 * wanted and (bytes_left > 0 or #claimed == 0)
end

local function claim_checkpoint(id, field)
	local bytes = redis.call('HGET', checkpoints, id)
	if bytes then
		left[#left + 1] = field
		left[#left + 1] = bytes
		bytes_left = bytes_left - #bytes
	end
end

local function claim(id, counts, body)
	if #body > largest then
		bury(id, counts, body, 'larger than max_body')
		redis.call('HDEL', checkpoints, id)
		buried = buried + 1
		return
	end
	local field = id .. ':' .. counts
	claimed[#claimed + 1] = field
	claimed[#claimed + 1] = body
	bytes_left = bytes_left - #body
	if some_left_one then
		claim_checkpoint(id, field)
	end
end

-- Returns how many of the due jobs it looked at.
local function claim_delayed(most)
	local members = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, most)
	local taken = {}
	for _, member in ipairs(members) do
		if not has_room() then
			break
		end
		local id, counts, body_at = string.match(member, '^(%d+):(%d+:%d+%.?%d*):()')
		claim(id, counts, string.sub(member, body_at))
		taken[#taken + 1] = member
	end
	push_all('ZREM', delayed, taken)
	return #taken
end

-- What the history knows of these bodies, in the same order; nil when it knows nothing at all.
local function recall(bodies)
	if redis.call('EXISTS', history) == 0 then
		return nil
	end
	local known = {}
	for i, body in ipairs(bodies) do
		local key = fingerprint(body)
		local entry = redis.call('HGET', history, key)
		if entry then
			local rest, last = string.match(entry, '^(.*) (%S+)$')
			if rest then
				redis.call('HSET', history, key, rest)
			else
				redis.call('HDEL', history, key)
			end
			known[i] = {split_facts(last or entry)}
		end
	end
	return known
end

-- Bodies fresh from the list, the head first. Those beyond the room for bytes go back.
local function claim_raw(bodies)
	local known = recall(bodies) or {}
	local id = redis.call('INCRBY', seq, #bodies) - #bodies
	local back = {}
	for i, body in ipairs(bodies) do
		local own_id, counts = id + i, FRESH
		if known[i] then
			own_id, counts = known[i][1], known[i][2]
		end
		if #back > 0 or not has_room() then
			back[#back + 1] = {own_id, counts, body}
		else
			claim(own_id, counts, body)
		end
	end
	put_back(list, history, checkpoints, back)
end

-- 1 when the list ran dry.
local function claim_from_list(most)
	local bodies = redis.pcall('RPOP', list, most)
	if not bodies then
		return 1
	end
	if bodies.err then
		trouble = bodies.err
		return 1
	end
	claim_raw(bodies)
	return #bodies < most and 1 or 0
end

-- Due jobs first, but not more than half, so that a flood of them cannot shut out new ones.
local half = math.ceil(wanted / 2)
local due = claim_delayed(half)
local woken = redis.call('RPOP', wake)
if woken then
	claim_raw({woken})
end
local dry = 0
if has_room() then
	dry = claim_from_list(wanted - #claimed / 2)
end
if due == half and has_room() then
	claim_delayed(wanted - #claimed / 2)
end
push_all('HSET', held, claimed)

local reply = {1, next_due(delayed, now), dry, buried, trouble, #left / 2}
local function append(values)
	local before = #reply
	for i = 1, #values do
		reply[before + i] = values[i]
	end
end
append(left)
append(claimed)
return reply
