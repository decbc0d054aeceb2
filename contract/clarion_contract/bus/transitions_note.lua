-- Notes users whose connections to a pod have come or gone, so that they are looked at; atomically.
--
-- KEYS[1] due      sorted set: users to look at, sorted by when, ms
-- KEYS[2] users    sorted set: the users with a connection to the pod
-- KEYS[3] pods     sorted set: the pods that have such a set
--
-- ARGV[1] pod
-- ARGV[2] grace    how long after a user's leave it is looked at, ms
-- ARGV[3] seconds after which Redis forgets the pod's users unless the pod writes again
-- ARGV[4...]       pairs of a user, and 1: it is connected, 0: it has left
--
-- Returns nothing of use.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '1' then
    redis.call('ZADD', KEYS[2], '0', ARGV[i])
    redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[i])
  else
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[i])
  end
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('ZADD', KEYS[3], '0', ARGV[1])
return 0
