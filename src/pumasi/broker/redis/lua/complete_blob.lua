-- complete_blob: the last part of a blob, and with it the whole, in place of what was there
-- needs: start
local ask = cmsgpack.unpack(ARGV[2])
local at, id = P .. 'blob:' .. ask.key, ask.owner
call('SET', P .. 'chunk:' .. ask.version .. ':' .. ask.chunks - 1, ARGV[3])
local before = call('HGET', at, 'version')
if before then call('ZADD', P .. 'doomed', 0, before) end
call('ZREM', P .. 'doomed', ask.version)
call('HSET', at, 'version', ask.version, 'size', ask.size, 'owner', ask.owner)
call('ZADD', P .. 'blobs', 0, ask.key)
if ask.bundle then
  call('ZADD', P .. 'bundles', now, ask.key)
else
  call('SADD', P .. 'blobs-of:' .. id, ask.key)
  if call('EXISTS', P .. 'job:' .. id) == 0 then call('ZADD', P .. 'strays', now, ask.key) end
end
return 1
