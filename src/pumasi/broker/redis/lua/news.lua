-- news: jobs that changed after a position, in order, of a step of the changes; [[records], where to go on or 0]
-- needs: start record matching
local ask = cmsgpack.unpack(ARGV[2])
local wanted, match, jobs = wants(ask), matching(ask), {}
local changes = call('ZRANGEBYSCORE', P .. 'changes', '(' .. text_of(ask.changed_after), '+inf', 'LIMIT', 0, ask.step)
local last = 0
for _, id in ipairs(changes) do
  local job = match(id)
  last = job and job.change or tonumber(call('ZSCORE', P .. 'changes', id))
  if job and wanted(job.state) then jobs[#jobs + 1] = job end
  if #jobs == ask.limit then break end
end
local more = #jobs < ask.limit and #changes == ask.step and last or 0
return '[' .. page_text(jobs, ask.limit) .. ',' .. more .. ']'
