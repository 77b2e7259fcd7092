-- ARGV: deadline, user, row, whether it takes the place of such a row, what the epoch is to be above. Gives the epoch and the
-- other rows.
if is_late(ARGV[1]) then return LATE end
local user, row = ARGV[2], ARGV[3]
local epoch = rise(tonumber(ARGV[5]))
local rows = redis.call('HGETALL', ROOT .. 'user:' .. user)
local others = {}
for at = 1, #rows, 2 do
    if ARGV[4] == '1' and rows[at + 1] == row then
        remove(user, rows[at], row)
    else
        others[#others + 1], others[#others + 2] = rows[at], rows[at + 1]
    end
end
if #rows == 0 then redis.call('ZADD', ROOT .. 'users', epoch, user) end
add(user, epoch, row)
return { epoch, others }
