-- ARGV: user, epoch. Gives whether the row was there.
local user, epoch = ARGV[1], ARGV[2]
local row = redis.call('HGET', ROOT .. 'user:' .. user, epoch)
if not row then return 0 end
remove(user, epoch, row)
forget_if_gone(user)
return 1
