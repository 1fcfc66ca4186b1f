-- Whether a job is meant by a query: what does not follow from where it was found.
local function matching(ask)
  local function labelled(id)
    for _, label in ipairs(ask.labels) do
      if not call('ZSCORE', P .. 'label:' .. label, id) then return false end
    end
    return true
  end
  return function(id)
    local found = call('HMGET', P .. 'job:' .. id, 's', 'q', 'sc', 'rs', 'pa', 'at', 'ch')
    local state, queue, script, resolved, parent, created_at = unpack(found, 1, 6)
    if not state
      or ask.queue and queue ~= ask.queue
      or ask.script and script ~= ask.script
      or ask.dead and (state ~= 'failed' or (resolved or '') ~= '')
      or ask.parent and parent ~= ask.parent
      or ask.since and tonumber(created_at) < ask.since
      or ask.prefix and id:sub(1, #ask.prefix) ~= ask.prefix
      or not labelled(id)
    then
      return nil
    end
    return {id = id, state = state, at = tonumber(created_at), change = tonumber(found[7])}
  end
end

-- Newest first.
local function newer(one, other)
  if one.at ~= other.at then return one.at > other.at end
  return id_before(other.id, one.id)
end

-- Whether a job comes behind the cursor.
local function behind(ask, job)
  return not ask.after_id or newer({at = ask.after_at, id = ask.after_id}, job)
end

local function wants(ask)
  if #ask.states == 0 then return function() return true end end
  local states = {}
  for _, state in ipairs(ask.states) do states[state] = true end
  return function(state) return states[state] or false end
end

local function totals_text(totals)
  local parts = {}
  for state, n in pairs(totals) do
    if n > 0 then parts[#parts + 1] = '"' .. state .. '":' .. n end
  end
  return '{' .. table.concat(parts, ',') .. '}'
end

local function page_text(jobs, limit)
  local ids = {}
  for n = 1, math.min(#jobs, limit) do ids[n] = jobs[n].id end
  return records(ids)
end
