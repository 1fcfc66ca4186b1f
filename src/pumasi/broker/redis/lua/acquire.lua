-- acquire: starts under a rate limit, outside a claim; [now, seconds until there may be so many]
-- needs: start lanes
local ask = cmsgpack.unpack(ARGV[2])
local limit = cjson.decode(ask.limit)
limit.concurrency = nil
local free = free_at(limit, ask.n)
if free > now then return '[' .. text_of(now) .. ',' .. text_of(free - now) .. ']' end
for _ = 1, ask.n do note_start(limit, 'a' .. call('INCR', P .. 'start')) end
keys_touched[limit.key] = true
refresh_touched()
return '[' .. text_of(now) .. ',0]'
