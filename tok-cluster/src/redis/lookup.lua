-- ARGV: user. Gives the rows.
return redis.call('HGETALL', ROOT .. 'user:' .. ARGV[1])
