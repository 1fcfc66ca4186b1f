-- Where jobs are found: a shelf for each (state, queue, cause, resolved, script), in order of creation, and a tally of
-- them all. The parts are joined by NUL; only a script's name could hold one, and it comes last.
local SHELF = '^([^%z]*)%z([^%z]*)%z([^%z]*)%z([^%z]*)%z(.*)$'
local tallied = {}

local function shelf(state, queue, script, cause, resolved)
  return table.concat({state, queue, cause or '', resolved or '', script}, '\0')
end

local function shelve(name, created_at, id)
  gather('ZADD', 'shelf:' .. name, created_at, id)
  tallied[name] = (tallied[name] or 0) + 1
end

local function unshelve(name, id)
  gather('ZREM', 'shelf:' .. name, id)
  tallied[name] = (tallied[name] or 0) - 1
end

local function write_tally()
  for name, n in pairs(tallied) do
    if n ~= 0 and call('HINCRBY', P .. 'tally', name, n) == 0 then call('HDEL', P .. 'tally', name) end
  end
  tallied = {}
end
