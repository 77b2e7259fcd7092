-- ARGV: node.
if redis.call('HEXISTS', ROOT .. 'leases', ARGV[1]) == 1 then redis.call('HSET', ROOT .. 'leases', ARGV[1], 0) end
return 1
