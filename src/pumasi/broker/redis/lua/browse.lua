-- browse: a page of the jobs on some shelves, newest first; [[records], whether there are more, {state: how many}]
-- needs: start record shelves matching
local ask = cmsgpack.unpack(ARGV[2])
local wanted, since = wants(ask), ask.since and text_of(ask.since) or '-inf'
local totals, shelves = {}, {}

local tally = call('HGETALL', P .. 'tally')
for n = 1, #tally, 2 do
  local state, queue, _, resolved, script = tally[n]:match(SHELF)
  if (not ask.queue or queue == ask.queue) and (not ask.script or script == ask.script)
    and (not ask.dead or (state == 'failed' and resolved == ''))
  then
    local key = P .. 'shelf:' .. tally[n]
    totals[state] = (totals[state] or 0) + (ask.since and call('ZCOUNT', key, since, '+inf') or tonumber(tally[n + 1]))
    if wanted(state) then shelves[#shelves + 1] = {key = key, state = state, from = 0, more = true} end
  end
end

-- Where the cursor falls on a shelf: how many come before it. Those of its very moment are in order of their ids.
local function place(key)
  if not ask.after_id then return 0 end
  local at = text_of(ask.after_at)
  local low, high = call('ZCOUNT', key, '(' .. at, '+inf'), call('ZCOUNT', key, at, '+inf')
  while low < high do
    local middle = math.floor((low + high) / 2)
    local id = call('ZREVRANGE', key, middle, middle)[1]
    if id_before(id, ask.after_id) then high = middle else low = middle + 1 end
  end
  return low
end

-- Read on: a few of each shelf, and more only of those whose last so far may still have others of the page behind it.
local jobs, step = {}, math.max(8, math.ceil(2 * (ask.limit + 1) / math.max(1, #shelves)))
for _, at in ipairs(shelves) do at.from = place(at.key) end
local reading = #shelves > 0
while reading do
  for _, at in ipairs(shelves) do
    if at.more then
      local found = call('ZREVRANGE', at.key, at.from, at.from + step - 1, 'WITHSCORES')
      at.from, at.more = at.from + step, #found == 2 * step
      for n = 1, #found, 2 do
        at.last = {id = found[n], at = tonumber(found[n + 1])}
        if ask.since and at.last.at < ask.since then
          at.more = false
          break
        end
        jobs[#jobs + 1] = at.last
      end
    end
  end
  table.sort(jobs, newer)
  local edge = jobs[ask.limit + 1]
  reading = false
  for _, at in ipairs(shelves) do
    at.more = at.more and (not edge or newer(at.last, edge))
    reading = reading or at.more
  end
end
return '[' .. page_text(jobs, ask.limit) .. ',' .. tostring(#jobs > ask.limit) .. ',' .. totals_text(totals) .. ']'
