-- The hashes of the face, by the request_id of a job. What is ours there is known by its digest: a job's `pr` of what it
-- was shown as, `td` of what was told at its end, with the hash before it; `told` has the last `td` under each. What others
-- have written over it, stays.
local function take_back(key, external, digest)
  local value = digest and call('HGET', key, external)
  if value and redis.sha1hex(value) == digest then call('HDEL', key, external) end
end

local function take_back_told(face, external, told)
  local status, digest = told:match('^(%l+) (%x+)$')
  take_back(face .. ':tasks:' .. status, external, digest)
end

local function face_shows(face, id, external, request, worker, at)
  local shown = request .. ',"status":"running","worker_id":' .. cjson.encode(worker) .. ',"started_at":"' .. at .. '"}'
  call('HSET', face .. ':tasks:processing', external, shown)
  call('HSET', P .. 'job:' .. id, 'pr', redis.sha1hex(shown))
end

-- It waits again: for a try that is left, or since nobody extended its lease.
local function face_shows_waiting(face, id, external)
  local request = call('HGET', P .. 'job:' .. id, 'rq')
  if not request then return end
  local shown = request .. ',"status":"pending","worker_id":null,"started_at":null}'
  call('HSET', face .. ':tasks:processing', external, shown)
  call('HSET', P .. 'job:' .. id, 'pr', redis.sha1hex(shown))
end

local function face_tells(face, id, external, status, reply)
  take_back(face .. ':tasks:processing', external, call('HGET', P .. 'job:' .. id, 'pr'))
  local before, told = call('HGET', P .. 'told', external), status .. ' ' .. redis.sha1hex(reply)
  if before then take_back_told(face, external, before) end
  call('HSET', face .. ':tasks:' .. status, external, reply)
  call('HSET', P .. 'told', external, told)
  call('HSET', P .. 'job:' .. id, 'td', told)
  call('HDEL', P .. 'job:' .. id, 'rq', 'pr')
end

local function face_forgets(face, id, external)
  local told = call('HGET', P .. 'job:' .. id, 'td')
  if not told or call('HGET', P .. 'told', external) ~= told then return end
  call('HDEL', P .. 'told', external)
  if face ~= '' then take_back_told(face, external, told) end
end

local function face_shows_worker(face, worker, shown)
  call('HSET', face .. ':workers', worker, shown)
  call('ZADD', P .. 'shown', now, worker)
end

-- Workers of ours that are silent: inactive after a minute, gone after five.
local function face_looks_after_workers(face)
  local key = face .. ':workers'
  for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'shown', '-inf', text_of(now - 60))) do
    local since = tonumber(call('ZSCORE', P .. 'shown', worker))
    local shown = call('HGET', key, worker)
    if since <= now - 300 or not shown then
      call('HDEL', key, worker)
      call('ZREM', P .. 'shown', worker)
    elseif shown:find('"status":"active"', 1, true) then
      call('HSET', key, worker, (shown:gsub('"status":"active"', '"status":"inactive"', 1)))
    end
  end
end
