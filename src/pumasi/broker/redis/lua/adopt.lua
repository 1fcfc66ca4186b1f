-- adopt: records of another store, with their logs, all that are new or none; {how many, the key in the way}
-- needs: start shelves lanes shelving log
local jobs, record_bytes = unpack(cmsgpack.unpack(ARGV[2]))
local fresh, known = {}, {}
for n, job in ipairs(jobs) do
  if not known[job.id] and call('EXISTS', P .. 'job:' .. job.id) == 0 then
    local kind, id = holder(job)
    if kind then return '[0,[' .. kind .. ',' .. n - 1 .. ',' .. cjson.encode(id) .. ']]' end
    hold_keys(job)
    known[job.id] = true
    fresh[#fresh + 1] = job
  end
end
if #fresh > 0 then
  local first = call('INCRBY', P .. 'change', #fresh) - #fresh + 1
  for n, job in ipairs(fresh) do
    store_new(job, first + n - 1, job.created_at, job.run_at)
    if #job.log > 0 then
      local bytes = 0
      for _, piece in ipairs(job.log) do
        gather('ZADD', 'log:' .. job.id, 0, piece)
        bytes = bytes + weight(piece, record_bytes)
      end
      call('HSET', P .. 'job:' .. job.id, 'z', bytes)
    end
  end
  write_all()
end
return '[' .. #fresh .. ',null]'
