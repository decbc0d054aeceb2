-- Notes that a gateway pod is alive, forgets pods that are silent, and returns the live ones; atomically.
--
-- KEYS[1] pods     hash: "<pod>:<number>" -> "<last heard, ms> <timeout, ms> <text>",
--                  and "#" -> the last number given out
--
-- ARGV[1] pod      its last name with the number; to begin: its bare name; empty: only return the live pods
-- ARGV[2] begin    1 or 2: give the pod a new number, above all others. 1, for a process that starts: forget
--                  all entries under its bare name, which are those of a process that died. 2, for one that
--                  was forgotten: leave them, since they belong to another process that lives
-- ARGV[3] timeout  how long the pod may be silent, ms
-- ARGV[4] text     the pod's description of itself
--
-- Returns {name, number, pods}. name: the pod's name from now on; empty: it was forgotten and must begin.
-- number: the last one given out. A pod with a number up to it that is not among the pods is gone for good.
-- pods: pairs of name and text.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local name = ARGV[1]
local begins = ARGV[2] ~= '0'
local forgets = ARGV[2] == '1'
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
    -- Heard in the future: Redis' clock was set back, so the real age is unknown.
    local gone = silent < 0 or silent > tonumber(timeout)
    if gone or forgets and string.sub(all[i], 1, #prefix) == prefix then
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
  -- Also above all numbers from before Redis came up empty. Otherwise an entry of a pod that has
  -- not noticed this yet would seem to be the entry of a new pod.
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
