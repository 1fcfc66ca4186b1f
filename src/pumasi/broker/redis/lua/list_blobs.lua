-- list_blobs: keys that begin so, and the size of each, in turn
-- needs: start
local found = {}
for _, key in ipairs(call('ZRANGEBYLEX', P .. 'blobs', '[' .. ARGV[2], '[' .. ARGV[2] .. '\255')) do
  found[#found + 1] = key
  found[#found + 1] = call('HGET', P .. 'blob:' .. key, 'size')
end
return found
