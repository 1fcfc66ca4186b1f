-- insert: all of the jobs that are not there yet, or none; {now, position of the first, those known, conflict, full}
-- needs: start record shelves lanes shelving
local jobs, max_pending = unpack(cmsgpack.unpack(ARGV[2]))
local fresh, position, known, coming, order = {}, {}, {}, {}, {}

local function answer(first, conflict, full)
  return '[' .. text_of(now) .. ',' .. first .. ',[' .. table.concat(known, ',') .. '],'
    .. (conflict or 'null') .. ',' .. (full or 'null') .. ']'
end

for n, job in ipairs(jobs) do
  local id = job.id
  if not position[id] and call('EXISTS', P .. 'job:' .. id) == 0 then
    local kind, held_by = holder(job)
    id = held_by
    if held_by then
      local other = position[held_by] and jobs[position[held_by]].body_hash
        or call('HGET', P .. 'job:' .. held_by, 'b') or ''
      if other ~= job.body_hash then
        local at = position[held_by]
        return answer(0, '[' .. kind .. ',' .. n - 1 .. (at and ',' .. at - 1 .. ',null]' or ',-1,' .. record(held_by) .. ']'))
      end
    end
  end
  if not id then
    fresh[#fresh + 1] = job
    position[job.id] = n
    hold_keys(job)
    if not coming[job.queue] then order[#order + 1] = {job.queue, n} end
    coming[job.queue] = (coming[job.queue] or 0) + 1
  elseif position[id] then
    known[#known + 1] = '[' .. n - 1 .. ',' .. position[id] - 1 .. ',null]'
  else
    known[#known + 1] = '[' .. n - 1 .. ',-1,' .. record(id) .. ']'
  end
end

for _, queue in ipairs(order) do
  local bounds = settings(queue[1])
  local bound = bounds.max_pending or max_pending
  if bounds.pending + coming[queue[1]] > bound then
    return answer(0, nil, '[' .. queue[2] - 1 .. ',' .. text_of(bound) .. ']')
  end
end

local first = 0
if #fresh > 0 then
  first = call('INCRBY', P .. 'change', #fresh) - #fresh + 1
  for n, job in ipairs(fresh) do
    local run_at = job.run_at == 0 and now or job.run_at
    job.text = job.text .. ',"created_at":' .. text_of(now) .. ',"run_at":' .. text_of(run_at)
    store_new(job, first + n - 1, now, run_at)
  end
  write_all()
end
return answer(first)
