-- read: pieces of a log from a seq on; nothing when there is no such job
-- needs: start
local id, first, limit = ARGV[2], ARGV[3], ARGV[4]
if call('EXISTS', P .. 'job:' .. id) == 0 then return false end
return call('ZRANGEBYLEX', P .. 'log:' .. id, '[' .. first, '+', 'LIMIT', 0, limit)
