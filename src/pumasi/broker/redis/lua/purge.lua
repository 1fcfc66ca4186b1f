-- purge: forget some of what is old; {how many jobs, whether there is more}. What is looked through as a whole is, at most
-- once a minute.
-- needs: start shelves lanes face
local ask = cmsgpack.unpack(ARGV[2])
local more = false

local function drop_blob(key)
  local at = call('HMGET', P .. 'blob:' .. key, 'version', 'owner')
  if at[1] then call('ZADD', P .. 'doomed', 0, at[1]) end
  if at[2] then call('SREM', P .. 'blobs-of:' .. at[2], key) end
  call('DEL', P .. 'blob:' .. key)
  for _, index in ipairs({'blobs', 'bundles', 'strays'}) do call('ZREM', P .. index, key) end
end

local function forget_job(id, state)
  local key = P .. 'job:' .. id
  local queue, script, cause, resolved, labels, parent, digest, idempotency, external =
    unpack(call('HMGET', key, 'q', 'sc', 'cs', 'rs', 'lb', 'pa', 'd', 'i', 'e'), 1, 9)
  if external then face_forgets(ask.face, id, external) end
  unshelve(shelf(state, queue, script, cause, resolved), id)
  for _, index in ipairs({'ids', 'changes', 'ended:' .. state}) do gather('ZREM', index, id) end
  for _, label in ipairs(labels and cmsgpack.unpack(labels) or {}) do gather('ZREM', 'label:' .. label, id) end
  if parent then gather('ZREM', 'children:' .. parent, id) end
  if digest and call('HINCRBY', P .. 'digests', digest, -1) == 0 then call('HDEL', P .. 'digests', digest) end
  if idempotency and call('HGET', P .. 'idempotency', idempotency) == id then
    call('HDEL', P .. 'idempotency', idempotency)
  end
  for _, blob in ipairs(call('SMEMBERS', P .. 'blobs-of:' .. id)) do drop_blob(blob) end
  call('UNLINK', key, P .. 'text:' .. id, P .. 'log:' .. id)
end

local function forget_jobs()
  local gone = 0
  for state, before in pairs(ask.ended_before) do
    local ids = call('ZRANGEBYSCORE', P .. 'ended:' .. state, '-inf', '(' .. text_of(before), 'LIMIT', 0, ask.jobs - gone)
    for _, id in ipairs(ids) do forget_job(id, state) end
    gone = gone + #ids
  end
  write_gathered()
  write_tally()
  more = more or gone >= ask.jobs
  return gone
end

local function forget_workers()
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'seen', '-inf', '(' .. text_of(ask.workers_before))) do
    call('ZREM', P .. 'seen', id)
    call('HDEL', P .. 'workers', id)
  end
end

local function remove_doomed()
  local versions = call('ZRANGEBYSCORE', P .. 'doomed', '-inf', text_of(now), 'LIMIT', 0, ask.chunks)
  local left = ask.chunks
  for _, version in ipairs(versions) do
    -- parts are written in turn: where one is missing there are no more
    local number = tonumber(call('HGET', P .. 'removed', version)) or 0
    while left > 0 and call('UNLINK', P .. 'chunk:' .. version .. ':' .. number) == 1 do
      number, left = number + 1, left - 1
    end
    if left == 0 then
      call('HSET', P .. 'removed', version, number)
      more = true
      return
    end
    call('HDEL', P .. 'removed', version)
    call('ZREM', P .. 'doomed', version)
  end
  more = more or #versions == ask.chunks
end

local function forget_strays()
  for _, key in ipairs(call('ZRANGEBYSCORE', P .. 'strays', '-inf', '(' .. text_of(ask.strays_before), 'LIMIT', 0, ask.blobs)) do
    local owner = call('HGET', P .. 'blob:' .. key, 'owner')
    if owner and call('EXISTS', P .. 'job:' .. owner) == 1 then call('ZREM', P .. 'strays', key) else drop_blob(key) end
  end
end

local function forget_bundles()
  for _, key in ipairs(call('ZRANGEBYSCORE', P .. 'bundles', '-inf', '(' .. text_of(ask.scripts_before))) do
    local digest = call('HGET', P .. 'blob:' .. key, 'owner')
    if call('HEXISTS', P .. 'digests', digest) == 0 then drop_blob(key) end
  end
end

local function tidy_starts()
  local periods = call('HGETALL', P .. 'periods')
  for n = 1, #periods, 2 do
    local starts = P .. 'starts:' .. periods[n]
    call('ZREMRANGEBYSCORE', starts, '-inf', text_of(now - tonumber(periods[n + 1])))
    if call('EXISTS', starts) == 0 then call('HDEL', P .. 'periods', periods[n]) end
  end
end

local function tidy_lanes()
  for _, number in ipairs(call('SMEMBERS', P .. 'idle')) do
    if call('EXISTS', P .. 'line:' .. number) == 0 then
      forget_lane(number)
      call('SREM', P .. 'idle', number)
    end
  end
end

-- The turn of a share is forgotten with the last of its jobs that has not ended.
local function tidy_shares()
  for _, queue in ipairs(call('SMEMBERS', P .. 'settings')) do
    for _, share in ipairs(call('HKEYS', P .. 'served:' .. queue)) do
      local live = call('EXISTS', P .. 'sharing:' .. queue .. '\0' .. share) == 1
        or call('HEXISTS', P .. 'running:' .. queue, share) == 1
      if not live then call('HDEL', P .. 'served:' .. queue, share) end
    end
  end
end

local gone = forget_jobs()
forget_workers()
if not more and (tonumber(call('GET', P .. 'tidied')) or 0) <= now - ask.minute then
  call('SET', P .. 'tidied', text_of(now))
  forget_strays()
  forget_bundles()
  tidy_starts()
  tidy_lanes()
  tidy_shares()
end
remove_doomed()
return {gone, more and 1 or 0}
