-- Records as they stand. The text is right when a job waits or has ended; while it runs, the fields of its hash overrule
-- it, as a lease is taken, extended and reported on without touching the text.
local LEASE = {'w', 'c', 't', 'n', 'l', 'ca', 'st', 'p', 'rv', 'ch'}

local function running_text(text, lease)
  local worker, claim_id, token, attempt, till, claimed, started, progress, revision, change = unpack(lease, 1, 10)
  return text:sub(1, -2) .. ',"state":"running","worker":' .. cjson.encode(worker or '')
    .. ',"claim_id":' .. cjson.encode(claim_id or cjson.null) .. ',"token":' .. cjson.encode(token or '')
    .. ',"attempt":' .. attempt .. ',"lease_until":' .. till .. ',"claimed_at":' .. claimed
    .. ',"started_at":' .. (started or 'null') .. ',"progress":' .. (progress or 'null')
    .. ',"revision":' .. revision .. ',"change":' .. change .. '}'
end

local function record(id)
  local text = call('GET', P .. 'text:' .. id)
  if not text then return 'null' end
  local key = P .. 'job:' .. id
  if call('HGET', key, 's') ~= 'running' then return text end
  return running_text(text, call('HMGET', key, unpack(LEASE)))
end

local function records(ids)
  local texts = {}
  for n, id in ipairs(ids) do texts[n] = record(id) end
  return '[' .. table.concat(texts, ',') .. ']'
end
