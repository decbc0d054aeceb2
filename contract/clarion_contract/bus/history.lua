-- Reads the events of one stream after a position, and how far back the log is whole; atomically.
-- It follows floor.lua.
--
-- KEYS[1] log, KEYS[2] meta, KEYS[3] clock: see publish.lua
--
-- ARGV[1] since       read the events with a greater id
-- ARGV[2] limit       events at most
-- ARGV[3] max age ms  as in publish.lua
-- ARGV[4] broken too  1: read the events even if the log does not reach back to since
-- ARGV[5] max bytes   read no further once the events' data is this long; one is always read
-- ARGV[6] newest      1: read from the end back, so the newest of the events after since
--
-- Returns {floor, last, logged, entries, next}: the log is whole for every since >= floor; last is the id of
-- the stream's newest event, logged or not (0: none remembered), and logged that of the newest logged one, if
-- the log has it; next is the since that reads on (0: that was all). Of the newest events, next is the position
-- above which the entries are whole.

-- Read at first: what an event's size is shows only then, and it may be as large as Redis takes.
local FIRST_STEP = 16

-- The bytes of an entry's data. An entry of a growing text gets its data here, with everything so far.
local function complete(entry)
  local fields = entry[2]
  local head, name
  for i = 1, #fields, 2 do
    if fields[i] == 'd' then return #fields[i + 1] end
    if fields[i] == 'w' then head = fields[i + 1] end
    if fields[i] == 't' then name = fields[i + 1] end
  end
  -- In the same slot as the log, since its name begins in the same way.
  local text = head and name and redis.call('GET', string.sub(KEYS[1], 1, -4) .. 'text:' .. name)
  if not text then return 0 end
  fields[#fields + 1] = 'd'
  fields[#fields + 1] = '\t' .. head .. text .. '"}'
  return #fields[#fields]
end

-- Entries after since, in steps that hold about max_bytes together, so that neither the script nor
-- its reply takes the memory of a whole log.
local function read(since, limit, max_bytes)
  local entries, bytes, step = {}, 0, FIRST_STEP
  while #entries < limit do
    local count = math.min(step, limit - #entries)
    local found = redis.call('XRANGE', KEYS[1], '(' .. since .. '-0', '+', 'COUNT', count)
    for _, entry in ipairs(found) do
      entries[#entries + 1] = entry
      bytes = bytes + complete(entry)
      since = string.match(entry[1], '^%d+')
      if bytes >= max_bytes then return entries, since end
    end
    if #found < count then return entries, '0' end
    step = math.ceil((max_bytes - bytes) * #entries / math.max(bytes, 1))
  end
  return entries, since
end

-- The same from the end back; the entries are in the order of the log.
local function read_newest(since, limit, max_bytes)
  local entries, bytes, step, before = {}, 0, FIRST_STEP, '+'
  while #entries < limit and bytes < max_bytes do
    local count = math.min(step, limit - #entries)
    local found = redis.call('XREVRANGE', KEYS[1], before, '(' .. since .. '-0', 'COUNT', count)
    for _, entry in ipairs(found) do
      if bytes >= max_bytes then break end
      entries[#entries + 1] = entry
      before = '(' .. entry[1]
      bytes = bytes + complete(entry)
    end
    if #found < count then break end
    step = math.ceil((max_bytes - bytes) * #entries / math.max(bytes, 1))
  end
  for i = 1, math.floor(#entries / 2) do
    entries[i], entries[#entries + 1 - i] = entries[#entries + 1 - i], entries[i]
  end
  return entries
end

local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local meta = redis.call('HMGET', KEYS[2], 'last', 'logged')
local last = meta[1]
local logged, at = string.match(meta[2] or '', '^(%d+) (%d+)$')
if at ~= last then logged = last end
local floor
if first then
  floor = floor_of(first, KEYS[2])
elseif last then
  floor = logged
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
local entries, next_since = {}, '0'
local reaches = tonumber(ARGV[1]) >= tonumber(floor)
if (reaches or ARGV[4] == '1') and (not last or tonumber(last) > tonumber(ARGV[1])) then
  if ARGV[6] == '1' then
    entries = read_newest(ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5]))
    if entries[1] then next_since = floor_before(entries[1]) end
  else
    entries, next_since = read(ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5]))
  end
end
return {floor, last or '0', logged or '0', entries, next_since}
