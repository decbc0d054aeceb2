-- Gives orders to all gateways, atomically: forgets ended orders, stores the new ones, publishes them.
--
-- KEYS[1] orders   sorted set: encoded orders, sorted by their end in seconds
--
-- ARGV[1] channel
-- ARGV[2] max      number of orders kept at most
-- ARGV[3] command  PUBLISH, or SPUBLISH on a cluster
-- ARGV[4...]       pairs of an order's end in seconds and the order
--
-- Returns the subscribers that PUBLISH reached; -1: there are too many orders, nothing was done.

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])
if redis.call('ZCARD', KEYS[1]) + (#ARGV - 3) / 2 > tonumber(ARGV[2]) then
  return -1
end
local orders = {}
for i = 4, #ARGV, 2 do
  -- Makes an order given again a write too: without a write on its connection, WAIT waits for nothing.
  redis.call('ZREM', KEYS[1], ARGV[i + 1])
  redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
  orders[#orders + 1] = ARGV[i + 1]
end
return redis.call(ARGV[3], ARGV[1], table.concat(orders, '\n'))
