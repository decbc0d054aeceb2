-- Gives orders to all gateways, atomically: forget those that have ended, keep the new ones, PUBLISH.
--
-- KEYS[1] orders   sorted set: orders as they stand in the message, by their end in seconds
--
-- ARGV[1] channel
-- ARGV[2] max      orders that are kept at most
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
  -- So that an order given again is a write too: without one on its connection, WAIT waits for nothing.
  redis.call('ZREM', KEYS[1], ARGV[i + 1])
  redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
  orders[#orders + 1] = ARGV[i + 1]
end
return redis.call(ARGV[3], ARGV[1], table.concat(orders, '\n'))
