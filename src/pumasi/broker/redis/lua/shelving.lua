-- A job that is new here: its text, its hash, and all by which it is found. What it is comes as the client sends it
-- (jobs.py: `_new`), its `text` without the closing brace.
local function store_new(job, change, created_at, run_at)
  call('SET', P .. 'text:' .. job.id, job.text .. ',"revision":1,"change":' .. change .. '}')
  local fields = {'s', job.state, 'q', job.queue, 'sc', job.script, 'at', text_of(created_at), 'ra', text_of(run_at),
    'rv', 1, 'ch', change, 'm', text_of(job.memory)}
  local function field(name, value)
    if value ~= nil and value ~= '' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  if job.state == 'pending' then
    local number = lane_of(job.queue, job.priority, job.memory, job.limit, job.share)
    field('ln', number)
    gather('ZADD', 'line:' .. number, run_at, job.id)
    lanes_touched[number] = true
    waits(job.queue, 1)
    if job.expires_at then gather('ZADD', 'expires', job.expires_at, job.id) end
  else
    field('en', job.ended_at)
    gather('ZADD', 'ended:' .. job.state, job.ended_at, job.id)
  end
  field('ex', job.expires_at and text_of(job.expires_at))
  field('n', job.attempt ~= 0 and job.attempt or nil)
  field('cs', job.cause)
  field('rs', job.resolved)
  field('k', job.key)
  field('sr', job.share)
  field('d', job.digest)
  field('pa', job.parent)
  field('u', job.unique)
  field('i', job.idempotency)
  field('e', job.external)
  field('rq', job.request)
  if job.unique or job.idempotency then field('b', job.body_hash) end
  if job.unique and not job.ended_at then call('HSET', P .. 'unique', job.unique, job.id) end
  if job.idempotency then call('HSET', P .. 'idempotency', job.idempotency, job.id) end
  if job.digest then call('HINCRBY', P .. 'digests', job.digest, 1) end
  if job.parent then gather('ZADD', 'children:' .. job.parent, created_at, job.id) end
  if #job.labels > 0 then
    field('lb', cmsgpack.pack(job.labels))
    for _, label in ipairs(job.labels) do gather('ZADD', 'label:' .. label, created_at, job.id) end
  end
  call('HSET', P .. 'job:' .. job.id, unpack(fields))
  shelve(shelf(job.state, job.queue, job.script, job.cause, job.resolved), created_at, job.id)
  gather('ZADD', 'ids', 0, job.id)
  gather('ZADD', 'changes', change, job.id)
end

local fresh_keys = {}

-- Who holds one of the keys of a job, in the store or among the new ones: the key's kind, and the id.
local function holder(job)
  local kinds = {{'idempotency', job.idempotency}, {'unique', not job.ended_at and job.unique or nil}}
  for kind, known in ipairs(kinds) do
    if known[2] then
      local id = fresh_keys[known[1] .. known[2]] or call('HGET', P .. known[1], known[2])
      if id then return kind, id end
    end
  end
end

local function hold_keys(job)
  if job.idempotency then fresh_keys['idempotency' .. job.idempotency] = job.id end
  if job.unique and not job.ended_at then fresh_keys['unique' .. job.unique] = job.id end
end

local function write_all()
  write_gathered()
  write_waiting()
  write_tally()
  refresh_touched()
end
