-- put_back: jobs go back to the head of their list. A prelude, loaded in front of the other scripts.
--
-- The list holds raw bodies and nothing else, so that producers, LLEN and LRANGE need to know
-- nothing of us. What a body alone cannot say (its id, which attempt it is on, how often it was
-- interrupted or crashed its handler) waits in the history, a hash: fingerprint of the body -> facts,
-- several separated by a blank. Jobs with the very same body are interchangeable. Only jobs with
-- something to remember are in it, so that in good times the key does not exist, and a claim pays
-- one EXISTS for it. Entries of bodies that somebody else removed expire with the key.
--
-- facts    "id:counts"
-- counts   "attempt:interruptions", and ".crashes" behind it once there are any: a body may follow
--          facts and a colon (redis_turn.lua, delayed), so crashes must not look like one's beginning
--
-- What a run left for the next one is in checkpoints, a hash: id -> bytes. It expires like the
-- history, and a job that has one is one to remember.
--
-- Lua's unpack() is limited to some 8000 values: long commands go out in pieces.

local PIECE = 4000
local HISTORY_SECONDS = 7 * 24 * 3600
local OLDER_MOST = 1000 -- as many as may run at once here, and more
local ENTRY_BYTES = 4000 -- of equal bodies beyond some 200, the oldest are forgotten

-- A hash of 50 MB would hold the server for a tenth of a second; its ends will do.
local function fingerprint(body)
	if #body <= 65536 then
		return redis.sha1hex(body)
	end
	return #body .. ':' .. redis.sha1hex(string.sub(body, 1, 32768) .. string.sub(body, -32768))
end

local function remember(history, body, facts)
	local key = fingerprint(body)
	local known = redis.call('HGET', history, key)
	if known then
		if #known > ENTRY_BYTES then
			known = string.match(known, ' (.*)$')
		end
		facts = known .. ' ' .. facts
	end
	redis.call('HSET', history, key, facts)
	redis.call('EXPIRE', history, HISTORY_SECONDS)
end

-- Appends in pieces: `command key value...`.
local function push_all(command, key, values)
	for from = 1, #values, PIECE do
		redis.call(command, key, unpack(values, from, math.min(from + PIECE - 1, #values)))
	end
end

local FRESH = '1:0' -- counts of a job that nothing has happened to

-- Takes off the head what went back before and is older than `id`, so that jobs that are interrupted together,
-- and end one by one, are in their order again. What has no facts never began, and is younger.
local function take_older(list, history, id)
	local older = {}
	while #older < OLDER_MOST do
		local body = redis.call('LINDEX', list, -1)
		local known = body and redis.call('HGET', history, fingerprint(body))
		if not known or tonumber(string.match(known, '^%d+')) >= tonumber(id) then
			break
		end
		older[#older + 1] = redis.call('RPOP', list)
	end
	return older
end

-- jobs: {{id, counts, body, begun}, ...}, the one to be taken first in front. One that had begun keeps its
-- id, which its handler has seen, even if nothing is counted.
local function put_back(list, history, checkpoints, jobs)
	local bodies, older = {}, {}
	if #jobs > 0 and (jobs[1][4] or jobs[1][2] ~= FRESH) and redis.call('EXISTS', history) == 1 then
		older = take_older(list, history, jobs[1][1])
	end
	local some_left_one = #jobs > 0 and redis.call('EXISTS', checkpoints) == 1
	for i = #jobs, 1, -1 do
		local id, counts, body = jobs[i][1], jobs[i][2], jobs[i][3]
		bodies[#bodies + 1] = body
		if jobs[i][4] or counts ~= FRESH or some_left_one and redis.call('HEXISTS', checkpoints, id) == 1 then
			remember(history, body, id .. ':' .. counts)
		end
	end
	for i = #older, 1, -1 do
		bodies[#bodies + 1] = older[i]
	end
	push_all('RPUSH', list, bodies)
end

-- "id:counts" to its two halves.
local function split_facts(facts)
	return string.match(facts, '^(%d+):(.*)$')
end

local function interrupted_once_more(counts)
	local attempt, interruptions, crashes = string.match(counts, '^(%d+):(%d+)(.*)$')
	return attempt .. ':' .. string.format('%.0f', interruptions + 1) .. crashes
end

local function sort_by_id(jobs)
	table.sort(jobs, function(a, b) return tonumber(a[1]) < tonumber(b[1]) end)
end

-- Facts and bodies, as HGETALL gives a held hash, to jobs for put_back(); the oldest id in front.
local function jobs_by_id(found)
	local jobs = {}
	for i = 1, #found, 2 do
		local id, counts = split_facts(found[i])
		jobs[#jobs + 1] = {id, counts, found[i + 1]}
	end
	sort_by_id(jobs)
	return jobs
end

local function now_ms()
	local t = redis.call('TIME')
	return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Milliseconds until the first delayed job is due; -1 when there is none.
local function next_due(delayed, now)
	local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
	if not first[2] then
		return -1
	end
	return math.max(0, tonumber(first[2]) - now)
end

