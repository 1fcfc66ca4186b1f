-- Logs: pieces in order of their seq, which is their first eight bytes; then the time, eight bytes, the length of the
-- stream's name, the name, the data.
local function seq_of(piece) return piece:sub(1, 8) end

-- What a piece counts towards the bound of its log.
local function weight(piece, record_bytes) return #piece - 17 - piece:byte(17) + record_bytes end
