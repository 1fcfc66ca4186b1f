-- sift: of jobs that share something rare (ids, a label, a parent, how the id begins), those that match, a step of them
-- at a time; [[records], {state: how many}, where the next step begins or 0]. With changed_after: in order of change.
-- needs: start record matching
local ask = cmsgpack.unpack(ARGV[2])
local wanted, match = wants(ask), matching(ask)

local function rarest()
  local keys = {}
  for _, label in ipairs(ask.labels) do keys[#keys + 1] = P .. 'label:' .. label end
  if ask.parent then keys[#keys + 1] = P .. 'children:' .. ask.parent end
  local best, least
  for _, key in ipairs(keys) do
    local n = call('ZCARD', key)
    if not least or n < least then best, least = key, n end
  end
  return best
end

local function step_of_ids()
  if ask.ids then return ask.ids, 0 end
  local key, ids = rarest(), nil
  if key then
    ids = call('ZREVRANGE', key, ask.from, ask.from + ask.step - 1)
  else
    local last = ask.prefix .. '\255'
    ids = call('ZRANGEBYLEX', P .. 'ids', '[' .. ask.prefix, '[' .. last, 'LIMIT', ask.from, ask.step)
  end
  return ids, #ids == ask.step and ask.from + ask.step or 0
end

local ids, next_from = step_of_ids()
local jobs, totals, seen = {}, {}, {}
for _, id in ipairs(ids) do
  local job = not seen[id] and match(id)
  seen[id] = true
  if job then
    totals[job.state] = (totals[job.state] or 0) + 1
    local reached = ask.changed_after and job.change > ask.changed_after or not ask.changed_after and behind(ask, job)
    if wanted(job.state) and reached then jobs[#jobs + 1] = job end
  end
end
table.sort(jobs, ask.changed_after and function(one, other) return one.change < other.change end or newer)
return '[' .. page_text(jobs, ask.limit + 1) .. ',' .. totals_text(totals) .. ',' .. next_from .. ']'
