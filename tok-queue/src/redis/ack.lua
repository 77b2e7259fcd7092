-- KEYS: list, meta, due. ARGV: position, epoch, user, how long meta outlives the entries (ms). Gives the fence if that
-- refuses it, or the messages and the bytes that remain.
local fence = redis.call('HGET', KEYS[2], 'fence')
if fence and is_older(ARGV[2], fence) then return { fence } end
local left, freed = count_upto(KEYS[1], tonumber(ARGV[1])), 0
while left > 0 do
    local items, due = redis.call('LPOP', KEYS[1], math.min(left, 1000)), {}
    for _, item in ipairs(items) do
        freed = freed + #item + OVERHEAD
        due[#due + 1] = due_of(item, ARGV[3])
    end
    if #due > 0 then redis.call('ZREM', KEYS[3], unpack(due)) end
    left = left - #items
end
if fence ~= ARGV[2] then redis.call('HSET', KEYS[2], 'fence', ARGV[2]) end
if freed > 0 then redis.call('HINCRBY', KEYS[2], 'bytes', -freed) end
local messages = redis.call('LLEN', KEYS[1])
if messages == 0 then redis.call('PEXPIRE', KEYS[2], ARGV[4]) end
return { messages, redis.call('HGET', KEYS[2], 'bytes') or 0 }
