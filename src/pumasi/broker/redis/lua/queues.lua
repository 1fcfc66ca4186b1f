-- queues: all that hold a job or have settings; {name: [paused, max_pending, ageing, fair, pending, later, running, first]}
-- needs: start shelves lanes
local names, found = {}, {}
for _, name in ipairs(call('HKEYS', P .. 'tally')) do
  local _, queue = name:match(SHELF)
  names[queue] = true
end
for _, queue in ipairs(call('SMEMBERS', P .. 'settings')) do names[queue] = true end

local function waiting(queue)
  local later, first = 0, nil
  for _, number in ipairs(call('SMEMBERS', P .. 'lanes-of:' .. queue)) do
    local line = P .. 'line:' .. number
    later = later + call('ZCOUNT', line, '(' .. text_of(now), '+inf')
    local head = tonumber(call('ZRANGE', line, 0, 0, 'WITHSCORES')[2])
    if head and (not first or head < first) then first = head end
  end
  return later, first
end

local function number_or_null(x) return x and text_of(x) or 'null' end

for queue in pairs(names) do
  local at, running = settings(queue), call('ZCARD', P .. 'leases:' .. queue)
  local later, first = waiting(queue)
  found[#found + 1] = '[' .. table.concat({
    cjson.encode(queue), tostring(at.paused), number_or_null(at.max_pending), number_or_null(at.ageing),
    tostring(at.fair), at.pending, later, running, number_or_null(first),
  }, ',') .. ']'
end
return '[' .. text_of(now) .. ',[' .. table.concat(found, ',') .. ']]'
