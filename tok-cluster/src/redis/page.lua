-- ARGV: place after which it begins, limit. Gives the place where it ends, or nothing at the end of the table; users; the
-- rows of each.
local limit = tonumber(ARGV[2])
local found = redis.call('ZRANGE', ROOT .. 'users', '(' .. ARGV[1], '+inf', 'BYSCORE', 'LIMIT', 0, limit + 1, 'WITHSCORES')
local users, rows, last = {}, {}, ''
for at = 1, math.min(#found, 2 * limit), 2 do
    users[#users + 1] = found[at]
    rows[#rows + 1] = redis.call('HGETALL', ROOT .. 'user:' .. found[at])
    last = digits(tonumber(found[at + 1]))
end
if #found <= 2 * limit then last = '' end
return { last, users, rows }
