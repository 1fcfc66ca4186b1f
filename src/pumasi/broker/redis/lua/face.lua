-- The hashes of the face, by the request_id of a job; `told-by` says which job told last under each.

local function face_shows(face, external, request, worker, at)
  call('HSET', face .. ':tasks:processing', external, request .. ',"status":"running","worker_id":'
    .. cjson.encode(worker) .. ',"started_at":"' .. at .. '"}')
end

local function face_tells(face, id, external, status, reply)
  call('HDEL', face .. ':tasks:processing', external)
  call('HDEL', face .. ':tasks:' .. (status == 'completed' and 'failed' or 'completed'), external)
  call('HSET', face .. ':tasks:' .. status, external, reply)
  call('HSET', P .. 'told-by', external, id)
end

local function face_forgets(face, id, external)
  if call('HGET', P .. 'told-by', external) ~= id then return end
  call('HDEL', P .. 'told-by', external)
  if face ~= '' then
    call('HDEL', face .. ':tasks:completed', external)
    call('HDEL', face .. ':tasks:failed', external)
  end
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
