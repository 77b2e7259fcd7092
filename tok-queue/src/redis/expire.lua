-- KEYS: list, meta, due. ARGV: how long meta outlives the entries (ms), members of due... Gives the items removed.
local removed, freed = {}, 0
for index = 2, #ARGV do
    local seq = struct.unpack('>I8', ARGV[index], 9)
    local place = count_upto(KEYS[1], seq - 1)
    local item = redis.call('LINDEX', KEYS[1], place)
    if item and seq_of(item) == seq then
        -- Items are never empty: this removes exactly the one.
        redis.call('LSET', KEYS[1], place, '')
        redis.call('LREM', KEYS[1], 1, '')
        removed[#removed + 1] = item
        freed = freed + #item + OVERHEAD
    end
    redis.call('ZREM', KEYS[3], ARGV[index])
end
if freed > 0 then redis.call('HINCRBY', KEYS[2], 'bytes', -freed) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
return removed
