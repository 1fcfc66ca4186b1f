-- What every script begins with: P, the prefix of all keys, by which a cluster finds the node; and the time.
-- ARGV[1] is the time to go by, or empty: then it is the server's.
local P = KEYS[1]
local call = redis.call
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
end

-- A number as text, to the last bit.
local function text_of(x) return string.format('%.17g', x) end

-- Writes that are gathered by command and key, and go out together.
local gathered = {}
local function gather(command, key, ...)
  local name = command .. key
  local writes = gathered[name]
  if not writes then
    writes = {command, key}
    gathered[name] = writes
  end
  for _, value in ipairs({...}) do writes[#writes + 1] = value end
end
local function write_gathered()
  for _, writes in pairs(gathered) do
    local from = 3
    while from <= #writes do
      local to = math.min(from + 3999, #writes)  -- Lua hands over some thousand values at once, no more
      call(writes[1], P .. writes[2], unpack(writes, from, to))
      from = to + 1
    end
  end
  gathered = {}
end

-- Whether one id comes before another. Lua's own comparison goes by the language of the host.
local function id_before(one, other)
  local length = math.min(#one, #other)
  for at = 1, length do
    local a, b = one:byte(at), other:byte(at)
    if a ~= b then return a < b end
  end
  return #one < #other
end
