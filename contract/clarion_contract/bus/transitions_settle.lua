-- Compares users' state with what was told of them, and logs a transition for each that differs; atomically.
--
-- KEYS[1] lease, KEYS[2] looking, KEYS[3] online, KEYS[4] log, KEYS[5] position: see transitions_lead.lua
--
-- ARGV[1] holder
-- ARGV[2...]       pairs of a user, and 1: it is connected, 0: it is not
--
-- Returns the number of transitions; -1: another one holds the lease, and nothing was done.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local position = tonumber(redis.call('GET', KEYS[5]) or '0')
local count = 0
for i = 2, #ARGV, 2 do
  local user, now = ARGV[i], ARGV[i + 1]
  local before = redis.call('HGET', KEYS[3], user) and '1' or '0'
  redis.call('ZREM', KEYS[2], user)
  if now ~= before then
    -- Also above all positions from before Redis came up empty.
    position = math.max(micros, position + 1)
    local text = string.format('%.0f', position)
    if now == '1' then
      redis.call('HSET', KEYS[3], user, text)
    else
      redis.call('HDEL', KEYS[3], user)
    end
    redis.call('ZADD', KEYS[4], text, text .. ' ' .. now .. ' ' .. string.format('%.0f', micros) .. ' ' .. user)
    count = count + 1
  end
end
if count > 0 then
  redis.call('SET', KEYS[5], string.format('%.0f', position))
end
return count
