-- Reads the events of one stream after a position, and how far back the log is whole; atomically.
--
-- KEYS[1] log, KEYS[2] meta, KEYS[3] clock: see publish.lua
--
-- ARGV[1] since       read the events with a greater id
-- ARGV[2] limit       events at most
-- ARGV[3] max age ms  as in publish.lua
-- ARGV[4] broken too  1: read the events even if the log does not reach back to since
--
-- Returns {floor, last, entries}: the log is whole for every since >= floor; last is the id of the
-- stream's newest event (0: none remembered).

local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local last = redis.call('HGET', KEYS[2], 'last')
local floor
if first then
  for i = 1, #first[2], 2 do
    if first[2][i] == 'p' then floor = first[2][i + 1] end
  end
elseif last then
  floor = last
else
  local epoch = tonumber(redis.call('HGET', KEYS[3], 'epoch'))
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  if not epoch then
    epoch = now - 1
    redis.call('HSET', KEYS[3], 'epoch', string.format('%.0f', epoch))
  end
  floor = string.format('%.0f', math.max(epoch, now - 2000 * tonumber(ARGV[3])))
end
local entries = {}
local reaches = tonumber(ARGV[1]) >= tonumber(floor)
if (reaches or ARGV[4] == '1') and (not last or tonumber(last) > tonumber(ARGV[1])) then
  entries = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])
end
return {floor, last or '0', entries}
