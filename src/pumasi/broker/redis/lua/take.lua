-- take: jobs for a worker; [now, whether lapsed runs come first, when something is next due or null, [records]],
-- and behind that entries of the face, the next one last, when there are some to be read before anything is taken
-- needs: start record shelves lanes shelving face
local ask = cmsgpack.unpack(ARGV[2])
local worker, claim_id, slots, memory = ask.worker, ask.claim_id, #ask.tokens, ask.memory
local WANTED = {'ex', 'n', 'rv', 'sc', 'cs', 'rs', 'at', 'k', 'e', 'rq'}
local till = text_of(now + ask.lease)
local change
local taken, aside, offers, used = {}, {}, {}, {}

local function next_change()
  change = (change or tonumber(call('GET', P .. 'change')) or 0) + 1
  return change
end

-- Whether this claim has room for entries of the face: they are jobs of one queue, but for those that name another.
local function serves_face(queues)
  if ask.look == 0 or memory < ask.face_memory then return false end
  for _, queue in ipairs(queues) do
    if queue == ask.face_queue then return true end
  end
  return false
end

-- The next entries of the face, the next one last.
local function in_sight() return call('LRANGE', ask.face .. ':tasks:pending', -ask.look, -1) end

-- Take an entry out of the list, if it is still the next one, and record it.
local function take_in(entry)
  local list = ask.face .. ':tasks:pending'
  if call('LINDEX', list, -1) ~= entry.raw then return end  -- somebody else has it
  call('RPOP', list)
  if entry.dead then
    call('LPUSH', ask.face .. ':tasks:dead', entry.dead)
    return
  end
  local job = entry.job
  local run_at = job.run_at == 0 and now or job.run_at
  job.text = job.text .. ',"created_at":' .. text_of(now) .. ',"run_at":' .. text_of(run_at)
  store_new(job, next_change(), now, run_at)
end

local function answer(lapsed, next_at)
  return '[' .. text_of(now) .. ',' .. tostring(lapsed) .. ',' .. (next_at and text_of(next_at) or 'null') .. ',['
    .. table.concat(taken, ',') .. ']]'
end

-- What this claim id still holds.
local function find_held()
  local runs, ids = call('HGETALL', P .. 'runs:' .. worker), {}
  for n = 1, #runs, 2 do
    if runs[n + 1] == claim_id then
      local lease = tonumber(call('HGET', P .. 'job:' .. runs[n], 'l'))
      if lease and lease > now then ids[#ids + 1] = runs[n] end
    end
  end
  table.sort(ids, id_before)
  for n, id in ipairs(ids) do taken[n] = record(id) end
end

-- Whether a run that fits has outlived its lease.
local function any_lapsed(queue)
  local from = 0
  while true do
    local ids = call('ZRANGEBYSCORE', P .. 'leases:' .. queue, '-inf', text_of(now), 'LIMIT', from, 100)
    for _, id in ipairs(ids) do
      if tonumber(call('HGET', P .. 'job:' .. id, 'm')) <= memory then return true end
    end
    if #ids < 100 then return false end
    from = from + 100
  end
end

local function lease(id, queue, at)
  local key = P .. 'job:' .. id
  local expires, attempt, revision, script, cause, resolved, created_at, limit_key, external, request =
    unpack(call('HMGET', key, unpack(WANTED)), 1, 10)
  if expires and tonumber(expires) <= now then return false end  -- a sweep will end it
  next_change()
  local token = ask.tokens[#taken + 1]
  attempt, revision = (attempt or 0) + 1, revision + 1
  if attempt > 1 then call('HDEL', key, 'st', 'p', 'x') end
  call('HSET', key, 's', 'running', 'w', worker, 'c', claim_id, 't', token, 'n', attempt, 'l', till,
    'ca', text_of(now), 'rv', revision, 'ch', change)
  gather('ZADD', 'leases:' .. queue, till, id)
  gather('HSET', 'runs:' .. worker, id, claim_id)
  gather('ZADD', 'changes', change, id)
  if expires then gather('ZREM', 'expires', id) end
  unshelve(shelf('pending', queue, script, cause, resolved), id)
  shelve(shelf('running', queue, script, cause, resolved), created_at, id)
  waits(queue, -1)
  used[queue] = true
  if limit_key then key_runs(limit_key, 1) end
  if external and ask.face ~= '' then face_shows(ask.face, id, external, request, worker, ask.at) end
  if at.limit then note_start(at.limit, change) end
  if settings(queue).fair then
    call('HSET', P .. 'served:' .. queue, at.share, change)
    share_runs(queue, at.share, 1)
  end
  taken[#taken + 1] = running_text(call('GET', P .. 'text:' .. id),
    {worker, claim_id, token, attempt, till, text_of(now), nil, nil, revision, change})
  return true
end

-- What a queue offers first, and what comes behind that; false when it offers nothing.
local function offer(queue)
  if offers[queue] == nil then
    local ready = call('ZRANGE', P .. 'ready:' .. queue, 0, 1)
    offers[queue] = ready[1] and {queue = queue, ready = ready[1], first = offer_of(ready[1]),
      second = ready[2] and offer_of(ready[2])} or false
  end
  return offers[queue]
end

-- Whether what this claim has taken leaves no room for a job of this lane.
local function barred(at)
  if at.memory > memory then return true end
  local free = now
  if at.limit then free = free_at(at.limit, 1) end
  return not free or free > now
end

-- Put a lane aside that this claim cannot have.
local function put_aside(best)
  call('ZREM', P .. 'ready:' .. best.queue, best.ready)
  aside[best.first.lane] = true
  offers[best.queue] = nil
end

-- Take from the front of a lane for as long as it comes before all others.
local function take_from(best, rival)
  local number, at, gone = best.first.lane, lane(best.first.lane), {}
  local line = call('ZRANGE', P .. 'line:' .. number, 0, slots - #taken + 10, 'WITHSCORES')
  for n = 1, #line, 2 do
    local due = tonumber(line[n + 1])
    if n > 1 then  -- the first was found to be the best
      if due > now or #taken == slots or barred(at) then break end
      if rival and offer_before(rival, offer_of((place_of(at, due, line[n], number)))) then break end
    end
    gone[#gone + 1] = line[n]
    if lease(line[n], best.queue, at) then memory = memory - at.memory end
    if settings(best.queue).fair then break end
  end
  if #gone > 0 then call('ZREM', P .. 'line:' .. number, unpack(gone)) end
  if settings(best.queue).fair then refresh_touched() end
  refresh(number)
  offers[best.queue] = nil
end

local function choose(queues)
  while #taken < slots do
    local best, rival
    for _, queue in ipairs(queues) do
      local other = offer(queue)
      if other and (not best or offer_before(other.first, best.first)) then
        best, rival = other, best
      elseif other and (not rival or offer_before(other.first, rival.first)) then
        rival = other
      end
    end
    if not best then return end
    local second = rival and rival.first
    if best.second and (not second or offer_before(best.second, second)) then second = best.second end
    if barred(lane(best.first.lane)) then put_aside(best) else take_from(best, second) end
  end
end

-- How far to reach among the entries: to the last of those that would be had if nothing else waited.
local function reach(from, room, served)
  local wanted, last = {}, from - 1
  for n = from, #ask.entries do
    local job = ask.entries[n].job
    if job and served[job.queue] and job.run_at <= now then wanted[#wanted + 1] = {at = n, priority = job.priority} end
  end
  if #wanted < room then return #ask.entries end
  table.sort(wanted, function(one, other)
    if one.priority ~= other.priority then return one.priority > other.priority end
    return one.at < other.at
  end)
  for n = 1, room do last = math.max(last, wanted[n].at) end
  return last
end

-- Record the entries that this claim reaches, and hand out what comes first by now; again while that leaves room.
local function choose_with_face(queues)
  local served, from = {}, 1
  for _, queue in ipairs(queues) do served[queue] = true end
  while from <= #ask.entries and #taken < slots do
    local before, last = #taken, reach(from, slots - #taken, served)
    for n = from, last do take_in(ask.entries[n]) end
    from = last + 1
    write_all()
    offers = {}
    choose(queues)
    if #taken == before then return end
  end
end

local function next_due(queues)
  local first
  for _, queue in ipairs(queues) do
    local later = call('ZRANGE', P .. 'later:' .. queue, 0, 0, 'WITHSCORES')
    local lapse = call('ZRANGEBYSCORE', P .. 'leases:' .. queue, '(' .. text_of(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    for _, at in ipairs({later[2] or false, lapse[2] or false}) do
      if at and (not first or tonumber(at) < first) then first = tonumber(at) end
    end
  end
  return first
end

local function write_taken()
  for number in pairs(aside) do
    local at = lane(number)
    if at.ready ~= '' then call('ZADD', P .. 'ready:' .. at.queue, 0, at.ready) end
  end
  if change then
    call('SET', P .. 'change', change)
    for queue in pairs(used) do call('SADD', P .. 'running', queue) end
    write_gathered()
    write_waiting()
    write_tally()
  end
  refresh_touched()
end

find_held()
if #taken > 0 or slots == 0 then return answer(false) end
local open = {}
for _, queue in ipairs(ask.queues) do
  if not settings(queue).paused then open[#open + 1] = queue end
end
for _, queue in ipairs(open) do
  if not ask.calm and any_lapsed(queue) then return answer(true) end
end
local serves = serves_face(open)
local entries = serves and #ask.entries == 0 and in_sight() or {}
if #entries > 0 then return {answer(false), unpack(entries)} end
for _, queue in ipairs(open) do wake(queue) end
choose_with_face(open)
choose(open)
write_taken()
if serves and #taken == 0 and #ask.entries > 0 then entries = in_sight() end
return {answer(false, #taken == 0 and next_due(open) or nil), unpack(entries)}
