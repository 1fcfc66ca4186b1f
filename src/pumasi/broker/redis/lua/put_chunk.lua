-- put_chunk: a part of a blob that is being written; doomed unless the blob becomes complete in time
-- needs: start
local version, number, patience = ARGV[2], ARGV[3], ARGV[4]
call('ZADD', P .. 'doomed', now + patience, version)
call('SET', P .. 'chunk:' .. version .. ':' .. number, ARGV[5])
return 1
