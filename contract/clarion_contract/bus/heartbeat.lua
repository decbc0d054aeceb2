-- A gateway pod says that it is there, atomically; and who else is. Pods that are silent are forgotten.
--
-- KEYS[1] pods     hash: "<pod>:<number>" -> "<last heard, ms> <silent for at most, ms> <what it says>",
--                  and "#" -> the last number given out
--
-- ARGV[1] pod      as it was named last time; to begin: its bare name; empty: only who is there
-- ARGV[2] begin    1: give it a new number, above all others, and forget all that was known under its bare name
-- ARGV[3] timeout ms
-- ARGV[4] text     what it says of itself
--
-- Returns {name, number, pods}. name: the pod's from now on, empty: it was forgotten and must begin.
-- number: the last one given out: who has one up to it and is not among the pods is gone for good.
-- pods: pairs of name and text.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local name = ARGV[1]
local begins = ARGV[2] == '1'
local prefix = ARGV[1] .. ':'

local pods = {}
local number = '0'
local known = false
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] == '#' then
    number = all[i + 1]
  else
    local heard, timeout, text = string.match(all[i + 1], '^(%d+) (%d+) (.*)$')
    local silent = now - tonumber(heard)
    -- Heard in the future: Redis' clock was set back, and nobody knows how long ago it was.
    local gone = silent < 0 or silent > tonumber(timeout)
    if gone or begins and string.sub(all[i], 1, #prefix) == prefix then
      redis.call('HDEL', KEYS[1], all[i])
    elseif all[i] == name then
      known = true
    else
      pods[#pods + 1] = all[i]
      pods[#pods + 1] = text
    end
  end
end

if begins then
  -- Above all numbers of before Redis came up empty too: what was written under one of them,
  -- by a pod that had not noticed yet, would seem to be a newcomer's.
  number = string.format('%.0f', math.max(now, tonumber(number) + 1))
  redis.call('HSET', KEYS[1], '#', number)
  name = prefix .. number
elseif not known then
  name = ''
end
if name ~= '' then
  redis.call('HSET', KEYS[1], name, string.format('%.0f', now) .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
  pods[#pods + 1] = name
  pods[#pods + 1] = ARGV[4]
end
return {name, number, pods}
