-- Gives the time, and all nodes with the end of their lease.
return { digits(clock()), redis.call('HGETALL', ROOT .. 'leases') }
