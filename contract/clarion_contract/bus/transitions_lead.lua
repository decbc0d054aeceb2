-- Takes or keeps the lease on looking at users, and takes the users that are due; atomically.
--
-- KEYS[1] lease    string: its holder
-- KEYS[2] due, KEYS[3] pods: see transitions_note.lua
-- KEYS[4] looking  sorted set: the users that the holder looks at
-- KEYS[5] online   hash: the users that are told to be online, and the position of that
-- KEYS[6] log      sorted set: transitions to tell, sorted by position
-- KEYS[7] position string: the last position
--
-- ARGV[1] holder
-- ARGV[2] lease    ms; 0: give it up
-- ARGV[3] limit    users at once
-- ARGV[4] seconds after which Redis forgets all of this unless somebody leads
--
-- Returns {0} if another one holds the lease, or else {1, pods, users to look at, transitions to tell}.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {0}
end
if ARGV[2] == '0' then
  redis.call('PEXPIRE', KEYS[1], 0)
  return {0}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
for i = 2, 7 do
  redis.call('EXPIRE', KEYS[i], ARGV[4])
end
-- Users that are in it already: this holder, or the one before, did not come to an end with them.
local room = ARGV[3] - redis.call('ZCARD', KEYS[4])
if room > 0 then
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  for _, user in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, room)) do
    redis.call('ZREM', KEYS[2], user)
    redis.call('ZADD', KEYS[4], '0', user)
  end
end
local users = {}
if ARGV[3] ~= '0' then
  users = redis.call('ZRANGE', KEYS[4], 0, ARGV[3] - 1)
end
return {1, redis.call('ZRANGE', KEYS[3], 0, -1), users, redis.call('ZCARD', KEYS[6])}
