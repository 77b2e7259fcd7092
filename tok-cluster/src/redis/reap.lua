-- ARGV: node, how many rows. Gives whether there are more.
local node = ARGV[1]
local ends = redis.call('HGET', ROOT .. 'leases', node)
if ends and tonumber(ends) > clock() then return 0 end
for _, member in ipairs(redis.call('SPOP', ROOT .. 'node:' .. node, ARGV[2])) do
    local epoch, user = member:match('^(%d+):(.*)$')
    redis.call('HDEL', ROOT .. 'user:' .. user, epoch)
    forget_if_gone(user)
end
if redis.call('EXISTS', ROOT .. 'node:' .. node) == 1 then return 1 end
redis.call('HDEL', ROOT .. 'leases', node)
return 0
