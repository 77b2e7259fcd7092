-- An item of a user's list: its position (8 bytes, big-endian), then the record of src/record.rs.
-- OVERHEAD is what an entry counts for beside the item's length; EXPIRES and TIME are where an item says whether and when
-- it expires, in milliseconds since the Unix epoch on this server's clock. Positions and times are below 2^53, so Lua's
-- numbers hold them.
local function seq_of(item) return (struct.unpack('>I8', item)) end

-- The server's clock, in microseconds.
local function clock()
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2]
end

-- The item of a record that was sent with its TTL (ms) as its time, and has its deadline from now on.
local function item_of(seq, record, now)
    seq = struct.pack('>I8', seq)
    if record:byte(EXPIRES - 8) == 0 then return seq .. record end
    local ttl, deadline = struct.unpack('>I8', record, TIME - 8), math.floor(now / 1000)
    if ttl > 0 then deadline = math.ceil(now / 1000) + ttl end
    return seq .. record:sub(1, TIME - 9) .. struct.pack('>I8', deadline) .. record:sub(TIME)
end

-- How an entry that expires stands in the index `due`, whose members are all of score 0 and so in order of their bytes:
-- the deadline, the position, the user.
local function due_of(item, user)
    if item:byte(EXPIRES) ~= 0 then return item:sub(TIME, TIME + 7) .. item:sub(1, 8) .. user end
end

-- How many items of a list have positions up to `upto`.
local function count_upto(list, upto)
    local low, high = 0, redis.call('LLEN', list)
    while low < high do
        local middle = math.floor((low + high) / 2)
        if seq_of(redis.call('LINDEX', list, middle)) <= upto then low = middle + 1 else high = middle end
    end
    return low
end

-- Epochs are 20 digits: two halves that Lua's numbers hold.
local function is_older(a, b)
    local high_a, high_b = tonumber(a:sub(1, 10)), tonumber(b:sub(1, 10))
    return high_a < high_b or high_a == high_b and tonumber(a:sub(11)) < tonumber(b:sub(11))
end
