-- Stores how many connections a user has to one pod, and returns those to other pods; atomically.
--
-- KEYS[1] presence    hash: "<pod>:<number>" -> "<connections> <since, seconds>"
--
-- ARGV[1] pod; empty: only return the fields and values of all pods
-- ARGV[2] connections; 0: the user has left the pod
-- ARGV[3] since
-- ARGV[4] seconds after which Redis forgets the hash unless a pod writes it again
--
-- Returns the hash's other fields and values in turn; nothing if the pod has no connections.

if ARGV[1] == '' then
  return redis.call('HGETALL', KEYS[1])
end
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return {}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
if redis.call('HLEN', KEYS[1]) == 1 then
  return {}
end
local others = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= ARGV[1] then
    others[#others + 1] = all[i]
    others[#others + 1] = all[i + 1]
  end
end
return others
