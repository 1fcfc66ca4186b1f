-- lapsed: jobs that waited too long, then runs that have outlived their lease, of each the longest first; [now, [records]]
-- needs: start record face
local ask = cmsgpack.unpack(ARGV[2])
local found = {}

local function lapsed_in(queue)
  local from, most = 0, #found + ask.limit
  while #found < most do
    local leases = call('ZRANGEBYSCORE', P .. 'leases:' .. queue, '-inf', text_of(now), 'WITHSCORES', 'LIMIT', from, 500)
    for n = 1, #leases, 2 do
      if not ask.memory or tonumber(call('HGET', P .. 'job:' .. leases[n], 'm')) <= ask.memory then
        found[#found + 1] = {id = leases[n], till = tonumber(leases[n + 1])}
      end
      if #found >= ask.limit then return end
    end
    if #leases < 1000 then return end
    from = from + 500
  end
end

if ask.face ~= '' and not ask.queues then face_looks_after_workers(ask.face) end
local expired = ask.queues and {} or call('ZRANGEBYSCORE', P .. 'expires', '-inf', text_of(now), 'LIMIT', 0, ask.limit)
if not ask.calm and #expired < ask.limit then
  for _, queue in ipairs(ask.queues or call('SMEMBERS', P .. 'running')) do
    lapsed_in(queue)
    if not ask.queues and call('EXISTS', P .. 'leases:' .. queue) == 0 then call('SREM', P .. 'running', queue) end
  end
  table.sort(found, function(one, other)
    if one.till ~= other.till then return one.till < other.till end
    return id_before(one.id, other.id)
  end)
end
for n = 1, math.min(#found, ask.limit - #expired) do expired[#expired + 1] = found[n].id end
return '[' .. text_of(now) .. ',' .. records(expired) .. ']'
