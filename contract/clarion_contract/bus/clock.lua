-- Starts a clock that has not been started, and raises it if it is below a floor.
--
-- KEYS[1] clock  see publish.lua
--
-- ARGV[1] floor  the next id will be above it
--
-- Returns Redis' own time, in microseconds.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('HSETNX', KEYS[1], 'epoch', string.format('%.0f', now - 1))
if tonumber(ARGV[1]) > (tonumber(redis.call('HGET', KEYS[1], 'now')) or 0) then
  redis.call('HSET', KEYS[1], 'now', ARGV[1])
end
return string.format('%.0f', now)
