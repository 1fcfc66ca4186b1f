-- load: the records of these ids, null where there is none
-- needs: start record
local ids = cmsgpack.unpack(ARGV[2])
return records(ids)
