-- extend: a worker says it is alive, and its leases go on; [now, [those cancelled], [those lost]], by place
-- needs: start face
local ask = cmsgpack.unpack(ARGV[2])
local cancelled, lost, till = {}, {}, text_of(now + ask.lease)

if ask.stopped then
  call('HDEL', P .. 'workers', ask.worker)
  call('ZREM', P .. 'seen', ask.worker)
else
  call('HSET', P .. 'workers', ask.worker, ask.record:sub(1, -2) .. ',"seen_at":' .. text_of(now) .. '}')
  call('ZADD', P .. 'seen', now, ask.worker)
end
if ask.face ~= '' then face_shows_worker(ask.face, ask.worker, ask.shown) end
for n, held in ipairs(ask.leases) do
  local id, token, started = unpack(held, 1, 3)
  local key = P .. 'job:' .. id
  local at_token, state, queue, cancel, began = unpack(call('HMGET', key, 't', 's', 'q', 'x', 'st'), 1, 5)
  if at_token ~= token or state ~= 'running' then
    lost[#lost + 1] = n - 1
  else
    if started and not began then call('HSET', key, 'l', till, 'st', text_of(now)) else call('HSET', key, 'l', till) end
    gather('ZADD', 'leases:' .. queue, till, id)
    if cancel == '1' then cancelled[#cancelled + 1] = n - 1 end
  end
end
write_gathered()
return '[' .. text_of(now) .. ',[' .. table.concat(cancelled, ',') .. '],[' .. table.concat(lost, ',') .. ']]'
