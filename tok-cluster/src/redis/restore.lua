-- ARGV: deadline, user, row, epoch. Gives whether the row was missing, and the other rows.
if is_late(ARGV[1]) then return LATE end
local user, row, epoch = ARGV[2], ARGV[3], ARGV[4]
local rows = redis.call('HGETALL', ROOT .. 'user:' .. user)
local others, missing = {}, 1
for at = 1, #rows, 2 do
    if rows[at] == epoch then
        missing = 0
    else
        others[#others + 1], others[#others + 2] = rows[at], rows[at + 1]
    end
end
if missing == 1 then
    local place = rise(tonumber(epoch))
    if #rows == 0 then redis.call('ZADD', ROOT .. 'users', place, user) end
    add(user, epoch, row)
end
return { missing, others }
