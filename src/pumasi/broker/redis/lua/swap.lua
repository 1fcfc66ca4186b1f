-- swap: each new record where the old one still stands; [now, [[ran, started_at, progress, revision, change] or null, …]]
-- needs: start shelves lanes face
local ask = cmsgpack.unpack(ARGV[2])
local FIELDS = {'s', 'rv', 'l', 'st', 'p', 'q', 'sc', 'cs', 'rs', 'at', 'w', 'ln', 'k', 'sr', 'u', 'ex', 'e'}

local function leave(id, at)
  if at.s == 'pending' then
    gather('ZREM', 'line:' .. at.ln, id)
    lanes_touched[at.ln] = true
    waits(at.q, -1)
    if at.ex then gather('ZREM', 'expires', id) end
  elseif at.s == 'running' then
    gather('ZREM', 'leases:' .. at.q, id)
    if at.w then gather('HDEL', 'runs:' .. at.w, id) end
    if at.k then key_runs(at.k, -1) end
    share_runs(at.q, at.sr or '', -1)
    call('HDEL', P .. 'job:' .. id, 'w', 'c', 't', 'l', 'ca', 'x', 'st', 'p')
  else
    gather('ZREM', 'ended:' .. at.s, id)
  end
  write_gathered()
end

local function enter(id, at, new)
  if new.state == 'pending' then
    local number = lane_of(at.q, new.priority, new.memory, new.limit, at.sr or '')
    call('HSET', P .. 'job:' .. id, 'ln', number)
    gather('ZADD', 'line:' .. number, new.run_at, id)
    lanes_touched[number] = true
    waits(at.q, 1)
    if at.ex then gather('ZADD', 'expires', at.ex, id) end
  else
    call('HSET', P .. 'job:' .. id, 'en', text_of(new.ended_at))
    gather('ZADD', 'ended:' .. new.state, new.ended_at, id)
    if at.u and call('HGET', P .. 'unique', at.u) == id then call('HDEL', P .. 'unique', at.u) end
  end
end

local function move(id, at, new)
  if at.s == 'running' and new.state == 'running' then
    call('HSET', P .. 'job:' .. id, 'x', new.cancel)
  elseif at.s ~= new.state or new.state == 'pending' then
    leave(id, at)
    enter(id, at, new)
  end
  local before, after = shelf(at.s, at.q, at.sc, at.cs, at.rs), shelf(new.state, at.q, at.sc, new.cause, new.resolved)
  if before ~= after then
    unshelve(before, id)
    shelve(after, at.at, id)
  end
end

-- While a job runs, what was told of it meanwhile stays: when it began, how far it is.
local function told_meanwhile(at, new)
  if at.s ~= 'running' then return 'null', 'null', '' end
  local started = at.st or (new.started_at and text_of(new.started_at)) or 'null'
  local progress = at.p or 'null'
  return started, progress, ',"started_at":' .. started .. ',"progress":' .. progress
end

local function swapped(new)
  local id, found, at = new.id, call('HMGET', P .. 'job:' .. new.id, unpack(FIELDS)), {}
  for n, name in ipairs(FIELDS) do at[name] = found[n] or nil end
  if tonumber(at.rv) ~= new.revision then return 'null' end
  if new.same_lease and tonumber(at.l) ~= new.old_lease then return 'null' end
  local change, revision = call('INCR', P .. 'change'), new.revision + 1
  local started, progress, told = told_meanwhile(at, new)
  call('SET', P .. 'text:' .. id, new.text .. told .. ',"revision":' .. revision .. ',"change":' .. change .. '}')
  call('HSET', P .. 'job:' .. id, 's', new.state, 'rv', revision, 'ch', change, 'ra', text_of(new.run_at),
    'cs', new.cause, 'rs', new.resolved)
  move(id, at, new)
  gather('ZADD', 'changes', change, id)
  write_gathered()
  if new.told and at.e then face_tells(ask.face, id, unpack(new.told, 1, 3)) end
  if at.e and ask.face ~= '' and at.s == 'running' and new.state == 'pending' then
    face_shows_waiting(ask.face, id, at.e)
  end
  return '[' .. tostring(at.s == 'running') .. ',' .. started .. ',' .. progress .. ',' .. revision .. ',' .. change .. ']'
end

local answers = {}
for n, new in ipairs(ask.pairs) do answers[n] = swapped(new) end
write_waiting()
write_tally()
refresh_touched()
return '[' .. text_of(now) .. ',[' .. table.concat(answers, ',') .. ']]'
