-- redis_job: how a job is written down in Redis, and how it goes back. A prelude, loaded in front of
-- the other scripts.
--
-- The list holds raw bodies and nothing else, so that producers, LLEN and LRANGE need to know nothing of
-- us. What a body cannot say (its id, which attempt it is on, how often it was interrupted) lies beside it:
--
--   delayed   ZSET "facts:body", by when it is due, in ms
--   returned  ZSET "facts:check", one for each of the bodies that went back to the head of the list, in
--             their order, the first to be taken in front. So two bodies that look alike are told apart by
--             their places. `check` is for the case that somebody else has been at the list.
--
-- A list with bodies in `returned` has a time to live, until the year 2286. It is a mark that goes when
-- somebody deletes the list: a body that is pushed later is another job, whatever it looks like
-- (redis_turn.lua).
--
-- facts     "id:counts"
-- counts    "attempt:interruptions" of a job that never began; else ".crashes" behind it; behind that
--           ".lost" once a worker has died with it. A body may follow facts and a colon, so the later
--           counts must not look like the beginning of one.
-- id        counts up, and is no less than the server's clock in microseconds: an id is never given out
--           twice, whatever the server has lost of its data. Doubles hold it exactly until the year 2255.
--
-- What a run left for the next one is in checkpoints, a hash: id -> bytes.
--
-- Lua's unpack() is limited to some 8000 values: long commands go out in pieces. Dragonfly has Lua 5.4,
-- where it is table.unpack, and asks for the line that it is told in redis_script.c.

local unpack = table.unpack or unpack

local PIECE = 4000 -- even, for commands that take pairs
local FRESH = '1:0'

-- Appends in pieces: `command key value...`.
local function push_all(command, key, values)
	for from = 1, #values, PIECE do
		redis.call(command, key, unpack(values, from, math.min(from + PIECE - 1, #values)))
	end
end

local function now_ms()
	local t = redis.call('TIME')
	return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- --- ids ---

local function id_text(id)
	return string.format('%.0f', id)
end

-- 0: none has been given out that the server knows of.
local function last_id(seq)
	return tonumber(redis.call('GET', seq) or 0)
end

-- The first of n ids in a row.
local function take_ids(seq, n)
	local t = redis.call('TIME')
	local first = math.max(last_id(seq) + 1, t[1] * 1000000 + t[2])
	redis.call('SET', seq, id_text(first + n - 1))
	return first
end

-- --- facts ---

-- "id:counts" to its two halves, whatever is behind.
local function split_facts(facts)
	return string.match(facts, '^(%d+):([^:]*:[^:]*)')
end

-- "facts:body" to id, counts, body; nil for what somebody else has put there.
local function split_member(member)
	local id, counts, body_at = string.match(member, '^(%d+):(%d+:%d+%.?%d*%.?%d*):()')
	if not id then
		return nil
	end
	return id, counts, string.sub(member, body_at)
end

local function read_counts(counts)
	local attempt, interruptions, crashes, lost =
		string.match(counts, '^(%d+):(%d+)%.?(%d*)%.?(%d*)$')
	return attempt, tonumber(interruptions), tonumber(crashes) or 0, tonumber(lost) or 0
end

local function lost_once_more(counts)
	local attempt, interruptions, crashes, lost = read_counts(counts)
	return string.format('%s:%.0f.%.0f.%.0f', attempt, interruptions + 1, crashes, lost + 1)
end

-- --- going back ---

local MARK = 9999999999999
-- As much is taken off the head for the sake of the order.
local MERGE_BYTES, MERGE_JOBS = 2 * 1024 * 1024, 500

local function check_of(body)
	local ends = #body > 4096 and string.sub(body, 1, 2048) .. string.sub(body, -2048) or body
	return #body .. '-' .. redis.sha1hex(ends)
end

local function sort_by_id(jobs)
	table.sort(jobs, function(a, b) return tonumber(a[1]) < tonumber(b[1]) end)
end

-- Takes what went back before, and comes before `key`, off the head: {{key, body}, ...}, the first one in
-- front. nil, and nothing taken, where that would be too much.
local function take_before(list, returned, key)
	local taken, bytes = {}, 0
	if redis.call('ZCOUNT', returned, '-inf', '(' .. key) > MERGE_JOBS then
		return nil
	end
	local known = redis.call('ZRANGEBYSCORE', returned, '-inf', '(' .. key, 'WITHSCORES')
	for i = 2, #known, 2 do
		local body = bytes < MERGE_BYTES and redis.call('RPOP', list)
		if not body then
			for at = #taken, 1, -1 do
				redis.call('RPUSH', list, taken[at][2])
			end
			return nil
		end
		taken[#taken + 1] = {tonumber(known[i]), body}
		bytes = bytes + #body
	end
	return taken
end

local function are_fresh(jobs)
	for _, job in ipairs(jobs) do
		if job[2] ~= FRESH then
			return false
		end
	end
	return true
end

-- jobs: {{id, counts, body}, ...}, the oldest id in front. They go to the head of the list, in the midst of what went
-- back before: jobs that are interrupted together end one by one. Fresh ones need no facts as long as nobody else there
-- has some: they will be new ones.
local function put_back(list, returned, jobs)
	if #jobs == 0 then
		return
	end
	local bodies, members = {}, {}
	if are_fresh(jobs) and redis.call('EXISTS', returned) == 0 then
		for i = #jobs, 1, -1 do
			bodies[#bodies + 1] = jobs[i][3]
		end
		push_all('RPUSH', list, bodies)
		return
	end
	local others = take_before(list, returned, jobs[#jobs][1])
	local shift = 0
	if not others then
		local first = tonumber(redis.call('ZRANGE', returned, 0, 0, 'WITHSCORES')[2])
		shift = math.max(0, tonumber(jobs[#jobs][1]) - first + 1)
		others = {}
	end
	local all = others
	for _, job in ipairs(jobs) do
		local key = tonumber(job[1]) - shift
		all[#all + 1] = {key, job[3]}
		members[#members + 1] = id_text(key)
		members[#members + 1] = job[1] .. ':' .. job[2] .. ':' .. check_of(job[3])
	end
	table.sort(all, function(a, b) return a[1] < b[1] end)
	for i = #all, 1, -1 do
		bodies[#bodies + 1] = all[i][2]
	end
	push_all('RPUSH', list, bodies)
	push_all('ZADD', returned, members)
	redis.call('PEXPIREAT', list, MARK)
end

-- Whatever a worker's blocked pop has moved: it was never delivered.
local function empty_wake(wake, list)
	while redis.call('LMOVE', wake, list, 'RIGHT', 'RIGHT') do end
end

-- Puts back what is in `held` beside the fields that are keys of `known`. None of it has run, so nothing
-- is counted. Returns how many.
local function put_back_unknown(list, returned, held, known)
	local fields, jobs = {}, {}
	for _, field in ipairs(redis.call('HKEYS', held)) do
		if not known[field] then
			local id, counts = split_facts(field)
			fields[#fields + 1] = field
			jobs[#jobs + 1] = {id, counts, redis.call('HGET', held, field)}
		end
	end
	sort_by_id(jobs)
	put_back(list, returned, jobs)
	push_all('HDEL', held, fields)
	return #fields
end

-- --- members ---

local CONDEMNED = 0 -- the lease of one whose jobs are being brought back: it is no member any more

-- When the worker's lease runs out, in ms; nil: it has none. What such a worker has left in keys of its
-- name gets an owner then, whom anybody may bring back (redis_renew.lua): a membership can go without its
-- keys, when somebody deletes `workers` or the server evicts it.
local function lease_of(workers, worker, held, wake)
	local expiry = tonumber(redis.call('ZSCORE', workers, worker) or CONDEMNED)
	if expiry ~= CONDEMNED then
		return expiry
	end
	if redis.call('EXISTS', held, wake) > 0 then
		redis.call('ZADD', workers, CONDEMNED, worker)
	end
	return nil
end

-- Milliseconds until the first delayed job is due; -1 when there is none.
local function next_due(delayed, now)
	local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
	if not first[2] then
		return -1
	end
	return math.max(0, tonumber(first[2]) - now)
end

-- Connections on which idle workers block, to be unblocked by the caller because there is something that
-- their pop does not see. One is enough; the others are for those that are busy at the moment.
local function some_blocked(clients)
	local ids = {}
	local found = redis.call('HRANDFIELD', clients, 3, 'WITHVALUES')
	for i = 2, #found, 2 do
		if found[i] ~= 'quiet' then
			ids[#ids + 1] = tonumber(found[i])
		end
	end
	return ids
end

