-- KEYS: list, meta, due. ARGV: deadline (µs), limit of messages, limit of bytes, bytes of the batch, user, records...
local FIRST = 6
local now = clock()
if now > tonumber(ARGV[1]) then
    return redis.error_reply('LATE the request came after the sender had given up')
end
local meta = redis.call('HMGET', KEYS[2], 'seq', 'bytes')
local last, bytes = tonumber(meta[1] or 0), tonumber(meta[2] or 0)
local had, added = redis.call('LLEN', KEYS[1]), #ARGV - FIRST + 1
if had + added > tonumber(ARGV[2]) or bytes + ARGV[4] > tonumber(ARGV[3]) then return 0 end

-- Not below the clock, in milliseconds since 2026: positions rise also where the server has forgotten what it gave last.
local first = math.max(last + 1, math.floor(now / 1000) - 1767225600000, 1)
local items, due = {}, {}
for index = 0, added - 1 do
    local item = item_of(first + index, ARGV[FIRST + index], now)
    items[#items + 1] = item
    local member = due_of(item, ARGV[5])
    if member then due[#due + 1], due[#due + 2] = 0, member end
end
-- In pieces: Lua's stack takes some thousand values.
for from = 1, #items, 1000 do
    redis.call('RPUSH', KEYS[1], unpack(items, from, math.min(from + 999, #items)))
end
for from = 1, #due, 1000 do
    redis.call('ZADD', KEYS[3], unpack(due, from, math.min(from + 999, #due)))
end
redis.call('HSET', KEYS[2], 'seq', string.format('%.0f', first + added - 1), 'bytes', bytes + ARGV[4])
if had == 0 then redis.call('PERSIST', KEYS[2]) end
return first
