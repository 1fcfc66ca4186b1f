-- get_blob: {version, size, first part} of a blob, or nothing
-- needs: start
local at = call('HMGET', P .. 'blob:' .. ARGV[2], 'version', 'size')
if not at[1] then return false end
return {at[1], at[2], call('GET', P .. 'chunk:' .. at[1] .. ':0')}
