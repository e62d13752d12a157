-- redis_turn: settles what a worker has finished and claims more, in one step.
--
-- KEYS 1 list     LIST  raw bodies; producers LPUSH, the right end is the head
--      2 held     HASH  jobs this worker has claimed: facts -> body (see redis_job.lua)
--      3 workers  ZSET  worker -> when its lease runs out, ms of the server's clock
--      4 seq      the last id given out
--      5 delayed  ZSET  "facts:body", by when it is due in ms
--      6 dead     LIST  raw bodies, the newest left
--      7 notes    LIST  JSON lines {id, attempt, reason, at, error}, the newest 1000, the newest left
--      8 returned ZSET  what is known of the bodies at the head of the list
--      9 wake     LIST  what this worker's BLMOVE has moved: at most one body
--     10 checkpoints  HASH  id -> what its last run left for the next
--     11 spare    LIST  where the dead go when `dead` is no list
-- ARGV 1 worker, 2 lease in ms, 3 jobs to claim (0: none),
--      4 bytes to claim at most (but at least one job), 5 largest body to hand out,
--      6 how many workers a job may take with it until it is dead (0: no limit), 7 suspects that may be
--      claimed (0: none, 1: one that was lost once, 2: any one),
--      8 number of jobs done, 9 retried, 10 dead, 11 returned, 12 of checkpoints; then, for each
--      checkpoint  field, bytes; no bytes: forget the one it has. The job itself is one of the others
--      done        field
--      retried     field, its new counts, delay in ms
--      dead        field, reason, what its handler said of it as JSON {class, message, backtrace}, or ""
--      returned    field, its new counts, "" if it never began; the head of the list first
-- Returns {1, ms until a delayed job is due (-1: none), 1 if nothing else is there to be claimed, bodies
--          buried without a run, error or "", suspects that were passed by, {fields that were to be settled
--          and are not there ...}, {field, checkpoint, ...}, {field, body, ...}}, or {0, last id} when the
--          worker holds no lease: then nothing was done, and whatever it held has gone back or will.
--          Checkpoints are in the order of the jobs that have one.
--
-- Invariants
--   * A job is in exactly one of: list, held, wake, delayed, dead. It is put into its next place before it
--     leaves the last one.
--   * Settling twice is harmless: a field that is no longer in `held` was settled by the same call,
--     made before the connection broke. That goes for its checkpoint too, which somebody else may
--     have replaced by now.
--   * A checkpoint is there before its job can be claimed again, and goes with the job.
--   * The first command is a write that needs no memory. Under maxmemory Redis refuses a script
--     only at its first write, so neither a lease nor a half-done claim is lost to OOM.
--   * Bodies are read in steps, so that a claim costs what it takes and not what the list holds.
--   * All keys share one hash tag (see redis_list_keys.h), so that this works in a cluster.
--
-- Suspects. Whoever dies takes along what he has begun, what he had claimed ahead, and the reason. All of
-- them come back as suspects (redis_renew.lua). A suspect is claimed alone, by a worker that holds
-- nothing unbegun, so that those who never begin are never blamed. One that was lost twice is claimed only
-- where no other suspect is, so that who is innocent ends there, and who is not is alone to blame. A worker
-- that may not have them looks behind them, but not far.

local list, held, workers, seq, delayed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local dead, notes, returned, wake, checkpoints = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local spare = KEYS[11]
local worker, lease, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local bytes_left, largest = tonumber(ARGV[4]), tonumber(ARGV[5])
local lost_most, suspects = tonumber(ARGV[6]), tonumber(ARGV[7])
local NOTES = 1000
local PASS_BY_MOST = 16
local CHECKPOINT_SECONDS = 7 * 24 * 3600

redis.call('HDEL', held, '')
local now = now_ms()
local expiry = lease_of(workers, worker, held, wake)
if not expiry then
	return {0, last_id(seq)}
end
-- A lease that has run out is left to redis_renew.lua, which must see that it has.
local lease_left = expiry - now
if lease_left > 0 and lease_left < lease * 0.9 then
	redis.call('ZADD', workers, now + lease, worker)
end

local trouble = ''
local missing = {}
local arg = 13 -- the next argument to be read

local function keep_checkpoint(id, bytes)
	if bytes == '' then
		redis.call('HDEL', checkpoints, id)
		return
	end
	redis.call('HSET', checkpoints, id, bytes)
	redis.call('EXPIRE', checkpoints, CHECKPOINT_SECONDS)
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

local function body_of(field)
	local body = redis.call('HGET', held, field)
	if not body then
		missing[#missing + 1] = field
	end
	return body
end

local function delay_retried(n)
	for _ = 1, n do
		local field, counts = ARGV[arg], ARGV[arg + 1]
		local body = body_of(field)
		if body then
			local id = split_facts(field)
			redis.call('ZADD', delayed, now + ARGV[arg + 2], id .. ':' .. counts .. ':' .. body)
			redis.call('HDEL', held, field)
		end
		arg = arg + 3
	end
end

local function push_dead(body)
	local answer = redis.pcall('LPUSH', dead, body)
	if type(answer) ~= 'table' then
		return true
	end
	trouble = dead .. ': ' .. answer.err .. '; what is dead goes to ' .. spare
	return spare ~= dead and type(redis.pcall('LPUSH', spare, body)) ~= 'table'
end

local function bury(id, counts, body, reason, err)
	if not push_dead(body) then
		return false
	end
	local attempt = tonumber(string.match(counts, '^%d+'))
	redis.pcall('LPUSH', notes, cjson.encode({id = list .. '-' .. id, attempt = attempt, reason = reason, at = now, error = err}))
	redis.pcall('LTRIM', notes, 0, NOTES - 1)
	return true
end

local function bury_dead(n)
	for _ = 1, n do
		local field, reason = ARGV[arg], ARGV[arg + 1]
		local err = ARGV[arg + 2] ~= '' and cjson.decode(ARGV[arg + 2]) or nil
		local body = body_of(field)
		if body then
			local id, counts = split_facts(field)
			if bury(id, counts, body, reason, err) then
				redis.call('HDEL', held, field)
			else
				missing[#missing + 1] = field
			end
		end
		arg = arg + 3
	end
end

local function return_unfinished(n)
	local jobs, fields = {}, {}
	for _ = 1, n do
		local field, counts = ARGV[arg], ARGV[arg + 1]
		local body = body_of(field)
		if body then
			local id, before = split_facts(field)
			jobs[#jobs + 1] = {id, counts ~= '' and counts or before, body}
			fields[#fields + 1] = field
		end
		arg = arg + 2
	end
	sort_by_id(jobs) -- they come as they have ended
	put_back(list, returned, jobs)
	push_all('HDEL', held, fields)
end

keep_checkpoints(tonumber(ARGV[12]))
drop_done(tonumber(ARGV[8]))
delay_retried(tonumber(ARGV[9]))
bury_dead(tonumber(ARGV[10]))
return_unfinished(tonumber(ARGV[11]))

local claimed = {} -- field, body, ...: what goes into `held`
local left = {} -- field, checkpoint, ...: of those among them that have one
local buried = 0

if wanted == 0 then
	-- A BLMOVE that came late, after the worker had ceased to take jobs: back to where it was.
	empty_wake(wake, list)
	return {1, next_due(delayed, now), 0, 0, trouble, 0, missing, left, claimed}
end

local some_left_one = redis.call('EXISTS', checkpoints) == 1

local function has_room()
	return #claimed < 2 * wanted and (bytes_left > 0 or #claimed == 0)
end

-- --- in steps ---

local seen, bytes_seen = 0, 0 -- how many bodies were looked at, and what they weighed

local function see(body)
	seen = seen + 1
	bytes_seen = bytes_seen + #body
end

-- How many to look at next. One tells what the others may weigh, but large ones may lie behind small ones: so
-- never many at once.
local function step(most)
	local STEP = 16
	if seen == 0 then
		return 1
	end
	local mean = math.max(1, bytes_seen / seen)
	return math.max(1, math.min(most, STEP, math.ceil(bytes_left / mean)))
end

-- --- one job ---

local function claim_checkpoint(id, field)
	local bytes = redis.call('HGET', checkpoints, id)
	if bytes then
		left[#left + 1] = field
		left[#left + 1] = bytes
		bytes_left = bytes_left - #bytes
	end
end

-- False: it is dead, or can be neither handed out nor buried, and stays where it was.
local function refuse(id, counts, body, reason)
	if bury(id, counts, body, reason) then
		redis.call('HDEL', checkpoints, id)
		buried = buried + 1
		return true
	end
	return false
end

local function claim(id, counts, body)
	local field = id .. ':' .. counts
	claimed[#claimed + 1] = field
	claimed[#claimed + 1] = body
	bytes_left = bytes_left - #body
	if some_left_one then
		claim_checkpoint(id, field)
	end
end

local function claim_or_bury(id, counts, body)
	if #body <= largest or not refuse(id, counts, body, 'larger than max_body') then
		claim(id, counts, body)
	end
end

-- --- delayed ---

-- What somebody else has put there is a body, and a job to which nothing has happened.
local function read_member(member)
	local id, counts, body = split_member(member)
	if id then
		return id, counts, body
	end
	return id_text(take_ids(seq, 1)), FRESH, member
end

-- Returns how many it looked at.
local function claim_delayed(most)
	local looked = 0
	while looked < most and has_room() do
		local n = step(most - looked)
		local members = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, n)
		local taken = {}
		for _, member in ipairs(members) do
			if not has_room() then
				break
			end
			see(member)
			claim_or_bury(read_member(member))
			taken[#taken + 1] = member
		end
		push_all('ZREM', delayed, taken)
		looked = looked + #taken
		if #members < n then
			break
		end
	end
	return looked
end

-- --- suspects ---

local passed_by = {} -- bodies, which keep their facts and their places

-- Whether a job that is at the head is for this worker now. One that has taken too many workers with it is dead.
local function may_claim(counts)
	local _, _, _, times = read_counts(counts)
	if times == 0 then
		return true
	end
	return #claimed == 0 and suspects >= math.min(times, 2)
end

local function is_lost_for_good(counts)
	local _, _, _, times = read_counts(counts)
	return lost_most > 0 and times >= lost_most and string.format('its worker died %d times', times)
end

local alone = false -- what was claimed is a suspect: nothing beside it

local function claim_with_facts(id, counts, body)
	local why = is_lost_for_good(counts)
	if why and refuse(id, counts, body, why) then
		return
	end
	claim_or_bury(id, counts, body)
	local _, _, _, times = read_counts(counts)
	alone = times > 0 and #claimed > 0
end

-- --- from the list ---

-- What is known of the first bodies of the list: members of `returned`, nil when there are none.
local known = nil

-- A blocked pop takes the mark along, too, when it has moved the last body.
local function some_wake_is_full()
	local prefix = string.sub(wake, 1, -#worker - 1)
	for _, other in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
		if redis.call('EXISTS', prefix .. other) == 1 then
			return true
		end
	end
	return false
end

local function look_at_known()
	if redis.call('EXISTS', returned) == 0 then
		return
	elseif redis.call('PTTL', list) == -1 and not some_wake_is_full() then
		redis.call('DEL', returned) -- somebody has deleted the list
		return
	end
	known = redis.call('ZRANGE', returned, 0, wanted + 2 * PASS_BY_MOST)
end

-- The member of this body, and its place. It is the first one, unless somebody else took bodies off the
-- head, or another worker's blocked pop has just moved one.
local function find_known(body)
	if not known or #known == 0 then
		return nil
	end
	local check = ':' .. check_of(body)
	for at, member in ipairs(known) do
		if string.sub(member, -#check) == check then
			table.remove(known, at)
			return member
		end
	end
	return nil
end

-- One body off the head. False: it goes back, and so do those behind it.
local function claim_body(body)
	if alone or not has_room() then
		return false
	end
	see(body)
	local member = find_known(body)
	if not member then
		claim_or_bury(id_text(take_ids(seq, 1)), FRESH, body)
		return true
	end
	local id, counts = split_facts(member)
	if may_claim(counts) or is_lost_for_good(counts) then
		redis.call('ZREM', returned, member)
		claim_with_facts(id, counts, body)
	else
		passed_by[#passed_by + 1] = body
	end
	return true
end

local function push_to_head(bodies)
	local reversed = {}
	for i = #bodies, 1, -1 do
		reversed[#reversed + 1] = bodies[i]
	end
	push_all('RPUSH', list, reversed)
end

-- Bodies fresh from the list, the head first. Those beyond the room go back.
local function claim_bodies(bodies)
	local back = {}
	for _, body in ipairs(bodies) do
		if #back > 0 or not claim_body(body) then
			back[#back + 1] = body
		end
	end
	push_to_head(back)
end

-- 1 when the list ran dry.
local function claim_from_list(most)
	local looked = 0
	while looked < most and has_room() and not alone and #passed_by < PASS_BY_MOST do
		local n = step(most - looked)
		local bodies = redis.pcall('RPOP', list, n)
		if not bodies then
			return 1
		elseif bodies.err then
			trouble = bodies.err
			return 1
		end
		local before = #passed_by
		claim_bodies(bodies)
		looked = looked + n - (#passed_by - before)
		if #bodies < n then
			return 1
		end
	end
	return 0
end

local function room()
	return wanted - #claimed / 2
end

-- Due jobs first, but not more than half, so that a flood of them cannot shut out new ones. Who takes
-- one at a time takes turns.
local function half()
	if wanted == 1 then
		return redis.call('TIME')[2] % 2
	end
	return math.ceil(wanted / 2)
end

-- What is behind the bodies that were passed by has its place, and the mark is there (redis_job.lua).
local function end_with_list()
	push_to_head(passed_by)
	if not known then
		return
	elseif redis.call('EXISTS', returned) == 1 then
		redis.call('PEXPIREAT', list, MARK)
	else
		redis.call('PERSIST', list)
	end
end

local most = half()
look_at_known()
local due = claim_delayed(most)
local woken = redis.call('RPOP', wake)
if woken then
	claim_bodies({woken})
end
local dry = 0
if has_room() then
	dry = claim_from_list(room())
end
end_with_list()
if due == most and has_room() and not alone then
	claim_delayed(room())
end
push_all('HSET', held, claimed)
return {1, next_due(delayed, now), dry, buried, trouble, #passed_by, missing, left, claimed}
