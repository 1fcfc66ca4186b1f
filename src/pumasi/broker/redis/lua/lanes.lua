-- Lanes: what a claim chooses among, so that its cost does not grow with the jobs that wait. Pending jobs alike in queue,
-- priority, memory, keyed limit and share stand in one line, by (due time, id): a claim may have all of it, from its
-- front, or none.
--
-- A lane whose first job is due, and whose key is free, is in `ready:QUEUE`, as a text that sorts as the queue offers its
-- jobs: the level (turned round), in a fair queue how many of the share run and when it was last served, due time, id.
-- Else `later:QUEUE` says when it may be; a lane blocked by a running job of its key is in neither. In an ageing queue
-- `rising:QUEUE` says when a ready lane reaches its next level. Whoever changes a lane refreshes it.
local PLACE = '>I4I4dd'
local PLACE_SIZE = 24
local MAX_LEVEL = 4294967295

local queues_known, lanes_known, lanes_touched, keys_touched = {}, {}, {}, {}

local function settings(queue)
  local known = queues_known[queue]
  if not known then
    local found = call('HMGET', P .. 'queue:' .. queue, 'paused', 'max_pending', 'ageing', 'fair', 'pending')
    known = {
      paused = found[1] == '1', max_pending = tonumber(found[2]), ageing = tonumber(found[3]), fair = found[4] == '1',
      pending = tonumber(found[5]) or 0,
    }
    queues_known[queue] = known
  end
  return known
end

local function lane(number)
  local known = lanes_known[number]
  if known == nil then
    local found = call('HMGET', P .. 'lane:' .. number,
      'queue', 'priority', 'memory', 'limit', 'share', 'ready', 'later', 'rise', 'idle')
    known = found[1] and {
      queue = found[1], priority = tonumber(found[2]), memory = tonumber(found[3]),
      limit = found[4] ~= '' and cjson.decode(found[4]) or nil, share = found[5],
      ready = found[6] or '', later = found[7] or '', rise = found[8] or '', idle = found[9] or '',
    }
    lanes_known[number] = known
  end
  return known
end

-- The lane of pending jobs such as this one; made when it is the first.
local function lane_of(queue, priority, memory, limit, share)
  local name = table.concat({queue, priority, text_of(memory), limit, share}, '\0')
  local number = lanes_known[name] or call('HGET', P .. 'lanes', name)
  if not number then
    number = tostring(call('INCR', P .. 'lane'))
    call('HSET', P .. 'lanes', name, number)
    call('HSET', P .. 'lane:' .. number, 'name', name, 'queue', queue, 'priority', priority, 'memory', memory,
      'limit', limit, 'share', share)
    call('SADD', P .. 'lanes-of:' .. queue, number)
    call('SADD', P .. 'sharing:' .. queue .. '\0' .. share, number)
    if limit ~= '' then call('SADD', P .. 'lanes-under:' .. cjson.decode(limit).key, number) end
  end
  lanes_known[name] = number
  return number
end

local function forget_lane(number)
  local at = lane(number)
  if at.limit then call('SREM', P .. 'lanes-under:' .. at.limit.key, number) end
  call('SREM', P .. 'sharing:' .. at.queue .. '\0' .. at.share, number)
  call('SREM', P .. 'lanes-of:' .. at.queue, number)
  call('HDEL', P .. 'lanes', call('HGET', P .. 'lane:' .. number, 'name'))
  call('DEL', P .. 'lane:' .. number)
end

-- When `n` more may start under a limit, as `core.limits` says: nil when one that runs has ended.
local function free_at(limit, n)
  if limit.concurrency and (tonumber(call('HGET', P .. 'keys', limit.key)) or 0) >= limit.concurrency then return nil end
  local earlier = (limit.count or math.huge) - n
  if earlier > 9007199254740991 then return now end
  local start = call('ZREVRANGE', P .. 'starts:' .. limit.key, earlier, earlier, 'WITHSCORES')
  local at, period = tonumber(start[2]), limit.period or 60
  if at and at > now - period then return at + period end
  return now
end

local function note_start(limit, member)
  if not limit.count then return end
  local period = math.max(limit.period or 60, tonumber(call('HGET', P .. 'periods', limit.key)) or 0)
  call('HSET', P .. 'periods', limit.key, period)
  call('ZREMRANGEBYSCORE', P .. 'starts:' .. limit.key, '-inf', text_of(now - period))
  call('ZADD', P .. 'starts:' .. limit.key, now, member)
end

-- Where a ready lane stands among those of its queue, and when it reaches the next level.
local function place_of(at, head_at, head_id, number)
  local queue, level, rise, running, served = settings(at.queue), at.priority, '', 0, 0
  if queue.ageing then
    local steps = math.floor(math.max(0, now - head_at) / queue.ageing)
    level, rise = level + steps, text_of(head_at + (steps + 1) * queue.ageing)
  end
  if queue.fair then
    running = math.max(0, tonumber(call('HGET', P .. 'running:' .. at.queue, at.share)) or 0)
    served = tonumber(call('HGET', P .. 'served:' .. at.queue, at.share)) or 0
  end
  local place = struct.pack(PLACE, MAX_LEVEL - math.min(level, MAX_LEVEL), running, served, head_at)
  return place .. head_id .. '\0' .. number, rise
end

-- What a text in `ready` says: (turned level, due time, id, lane).
local function offer_of(ready)
  local turned, _, _, due = struct.unpack(PLACE, ready)
  local stop = ready:find('\0', PLACE_SIZE + 1, true)
  return {turned = turned, due = due, id = ready:sub(PLACE_SIZE + 1, stop - 1), lane = ready:sub(stop + 1)}
end

local function offer_before(one, other)
  if one.turned ~= other.turned then return one.turned < other.turned end
  if one.due ~= other.due then return one.due < other.due end
  return id_before(one.id, other.id)
end

-- Bring what is known of a lane up to date.
local function refresh(number)
  local at = lane(number)
  if not at then return end
  local head = call('ZRANGE', P .. 'line:' .. number, 0, 0, 'WITHSCORES')
  local ready, later, rise, idle = '', '', '', head[1] and '' or '1'
  if head[1] then
    local head_at, free = tonumber(head[2]), now
    if at.limit then free = free_at(at.limit, 1) end
    if free and math.max(head_at, free) > now then
      later = text_of(math.max(head_at, free))
    elseif free then
      ready, rise = place_of(at, head_at, head[1], number)
    end
  end
  if ready == at.ready and later == at.later and rise == at.rise and idle == at.idle then return end
  if ready ~= at.ready then
    if at.ready ~= '' then call('ZREM', P .. 'ready:' .. at.queue, at.ready) end
    if ready ~= '' then call('ZADD', P .. 'ready:' .. at.queue, 0, ready) end
  end
  for name, change in pairs({['later:'] = {at.later, later}, ['rising:'] = {at.rise, rise}}) do
    if change[2] ~= '' and change[1] ~= change[2] then
      call('ZADD', P .. name .. at.queue, change[2], number)
    elseif change[1] ~= change[2] then
      call('ZREM', P .. name .. at.queue, number)
    end
  end
  if idle ~= at.idle then call(idle == '1' and 'SADD' or 'SREM', P .. 'idle', number) end
  at.ready, at.later, at.rise, at.idle = ready, later, rise, idle
  call('HSET', P .. 'lane:' .. number, 'ready', ready, 'later', later, 'rise', rise, 'idle', idle)
end

-- A job of this share begins (1) or ceases (-1) to run.
local function share_runs(queue, share, n)
  if not settings(queue).fair then return end
  if call('HINCRBY', P .. 'running:' .. queue, share, n) == 0 then call('HDEL', P .. 'running:' .. queue, share) end
  for _, number in ipairs(call('SMEMBERS', P .. 'sharing:' .. queue .. '\0' .. share)) do lanes_touched[number] = true end
end

-- A job begins (1) or ceases (-1) to run under this key.
local function key_runs(key, n)
  if call('HINCRBY', P .. 'keys', key, n) == 0 then call('HDEL', P .. 'keys', key) end
  keys_touched[key] = true
end

local function refresh_touched()
  for key in pairs(keys_touched) do
    for _, number in ipairs(call('SMEMBERS', P .. 'lanes-under:' .. key)) do lanes_touched[number] = true end
  end
  for number in pairs(lanes_touched) do refresh(number) end
  lanes_touched, keys_touched = {}, {}
end

-- Refresh the lanes of a queue that time has passed over.
local function wake(queue)
  for _, number in ipairs(call('ZRANGEBYSCORE', P .. 'later:' .. queue, '-inf', text_of(now))) do refresh(number) end
  if settings(queue).ageing then
    -- a hair early: the level is counted by division, the time by multiplication
    local risen = call('ZRANGEBYSCORE', P .. 'rising:' .. queue, '-inf', text_of(now + 0.000001))
    for _, number in ipairs(risen) do refresh(number) end
  end
end

-- How many more jobs wait in a queue, or fewer.
local waiting_more = {}
local function waits(queue, n) waiting_more[queue] = (waiting_more[queue] or 0) + n end
local function write_waiting()
  for queue, n in pairs(waiting_more) do
    if n ~= 0 and call('HINCRBY', P .. 'queue:' .. queue, 'pending', n) == 0 then
      call('HDEL', P .. 'queue:' .. queue, 'pending')
    end
  end
  waiting_more = {}
end
