-- Notes some users of a pod that is gone, to be looked at after a grace; atomically.
--
-- KEYS[1] due, KEYS[2] users, KEYS[3] pods: see transitions_note.lua
--
-- ARGV[1] pod
-- ARGV[2] grace    ms
-- ARGV[3] limit    users at once
--
-- Returns how many users it noted. 0: the pod is forgotten.

local time = redis.call('TIME')
local at = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2])
local users = redis.call('ZRANGE', KEYS[2], 0, ARGV[3] - 1)
for _, user in ipairs(users) do
  redis.call('ZADD', KEYS[1], at, user)
  redis.call('ZREM', KEYS[2], user)
end
if #users == 0 then
  redis.call('ZREM', KEYS[3], ARGV[1])
end
return #users
