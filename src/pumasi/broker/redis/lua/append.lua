-- append: records to the log of a run, by the holder of its lease; 1, or 0 when the token no longer holds
-- needs: start log
local ask = cmsgpack.unpack(ARGV[2])
local key, log = P .. 'job:' .. ask.id, P .. 'log:' .. ask.id
local state, token, bytes = unpack(call('HMGET', key, 's', 't', 'z'), 1, 3)
if state ~= 'running' or token ~= ask.token then return 0 end
bytes = tonumber(bytes) or 0

local seen, in_order = {}, call('ZLEXCOUNT', log, '[' .. seq_of(ARGV[3]), '+') == 0
for n = 3, #ARGV do
  local piece = ARGV[n]
  local seq = seq_of(piece)
  if not seen[seq] and (in_order or call('ZLEXCOUNT', log, '[' .. seq, '[' .. seq .. string.rep('\255', 32)) == 0) then
    seen[seq] = true
    gather('ZADD', 'log:' .. ask.id, 0, piece)
    bytes = bytes + weight(piece, ask.record_bytes)
  end
end
write_gathered()

-- What is neither among the first bytes nor among the last goes (`core.logbook.dropped`).
local function trim()
  local kept, sum, excess, first = call('ZRANGE', log, 0, -1), 0, -ask.tail, nil
  for n, piece in ipairs(kept) do
    sum = sum + weight(piece, ask.record_bytes)
    if sum > ask.head then
      first = first or n
      excess = excess + weight(piece, ask.record_bytes)
    end
  end
  for n = first or #kept + 1, #kept do
    if excess <= 0 then break end
    excess = excess - weight(kept[n], ask.record_bytes)
    sum = sum - weight(kept[n], ask.record_bytes)
    gather('ZREM', 'log:' .. ask.id, kept[n])
  end
  write_gathered()
  return sum
end

if bytes > ask.most then bytes = trim() end
call('HSET', key, 'z', text_of(bytes))
if ask.progress then
  local change = call('INCR', P .. 'change')
  call('HSET', key, 'p', ask.progress, 'ch', change)
  call('ZADD', P .. 'changes', change, ask.id)
end
return 1
