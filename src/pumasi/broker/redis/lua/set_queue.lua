-- set_queue: settings of a queue; what is empty goes back to what holds without a setting
-- needs: start lanes
local queue, changes = unpack(cmsgpack.unpack(ARGV[2]))
local key = P .. 'queue:' .. queue
call('SADD', P .. 'settings', queue)
for name, value in pairs(changes) do
  if value == '' then call('HDEL', key, name) else call('HSET', key, name, value) end
end

-- How many of each share run is kept for fair queues only.
if changes.fair then
  local running = P .. 'running:' .. queue
  call('DEL', running)
  for _, id in ipairs(changes.fair == '1' and call('ZRANGE', P .. 'leases:' .. queue, 0, -1) or {}) do
    call('HINCRBY', running, call('HGET', P .. 'job:' .. id, 'sr') or '', 1)
  end
end
if changes.fair or changes.ageing then
  for _, number in ipairs(call('SMEMBERS', P .. 'lanes-of:' .. queue)) do refresh(number) end
end
return 1
