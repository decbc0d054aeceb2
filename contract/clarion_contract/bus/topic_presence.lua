-- Stores what one pod holds of a topic, and returns what all pods hold; atomically.
--
-- KEYS[1] presence    hash: "<pod>:<number>" -> the pod's entry, JSON
--
-- ARGV[1] pod         empty: only return the entries
-- ARGV[2] entry       empty: the topic has no member on the pod any more
-- ARGV[3] seconds after which Redis forgets the hash unless a pod writes it again
--
-- Returns the hash's fields and values in turn.

if ARGV[1] ~= '' then
  if ARGV[2] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
  else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    redis.call('EXPIRE', KEYS[1], ARGV[3])
  end
end
return redis.call('HGETALL', KEYS[1])
