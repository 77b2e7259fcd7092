-- ARGV: node, for how long. Gives whether it had a lease.
local now = clock()
local ends = redis.call('HGET', ROOT .. 'leases', ARGV[1])
redis.call('HSET', ROOT .. 'leases', ARGV[1], digits(now + ARGV[2]))
if ends and tonumber(ends) > now then return 1 end
return 0
