-- KEYS[1] is what all keys of a table begin with, `{PREFIX}:`. Scripts spell the rest themselves: the hash tag keeps
-- every key on the server that KEYS[1] leads to. There are
--   user:USER   hash    epoch -> NODE, or NODE:CLASS: a user's rows
--   node:NODE   set     EPOCH:USER of each row of a node
--   users       zset    USER of everybody with a row, in the order in which they came
--   leases      hash    NODE -> when its lease ends
--   epoch       string  the last number given: epochs, and places in `users`
-- NODE and USER are tokens without a colon. Times are in microseconds since the Unix epoch, by this server's clock. Numbers
-- stay below 2^53, up to where Lua's are exact.
local ROOT = KEYS[1]

-- It stands still while a script runs.
local now
local function clock()
    if not now then
        local time = redis.call('TIME')
        now = time[1] * 1000000 + time[2]
    end
    return now
end

local function digits(number) return string.format('%.0f', number) end

-- The next number: above all that were given, also before the table was lost, and above `least`.
local function rise(least)
    local last = tonumber(redis.call('GET', ROOT .. 'epoch') or 0)
    local next = digits(math.max(last + 1, clock(), least + 1))
    redis.call('SET', ROOT .. 'epoch', next)
    return next
end

-- For what must not happen once its caller has given up on it.
local function is_late(deadline) return clock() > tonumber(deadline) end
local LATE = { err = 'LATE the request came after the sender had given up' }

local function node_of(row) return row:match('^[^:]*') end

local function add(user, epoch, row)
    local node = node_of(row)
    redis.call('HSET', ROOT .. 'user:' .. user, epoch, row)
    redis.call('SADD', ROOT .. 'node:' .. node, epoch .. ':' .. user)
    -- Whoever has rows is listed, so that somebody reaps them.
    redis.call('HSETNX', ROOT .. 'leases', node, 0)
end

local function remove(user, epoch, row)
    redis.call('HDEL', ROOT .. 'user:' .. user, epoch)
    redis.call('SREM', ROOT .. 'node:' .. node_of(row), epoch .. ':' .. user)
end

-- A user without rows is nowhere.
local function forget_if_gone(user)
    if redis.call('EXISTS', ROOT .. 'user:' .. user) == 0 then redis.call('ZREM', ROOT .. 'users', user) end
end
