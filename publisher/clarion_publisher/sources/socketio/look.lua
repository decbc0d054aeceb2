-- Takes or keeps the lease on reading, notes how far the holder has come, and reads on; atomically.
--
-- KEYS[1] lease     string: its holder
-- KEYS[2] position  hash: id (of the last entry that was handed in), read (entries up to there, of all
--                   that were ever added)
-- KEYS[3] stream    of the producers
--
-- ARGV[1] holder
-- ARGV[2] lease     ms; 0: give it up
-- ARGV[3] done      id of the last entry that was handed in; empty: none since the last look
-- ARGV[4] count     entries that were handed in since the last look
-- ARGV[5] known     position to go on from if Redis has lost it; empty: from now on
-- ARGV[6] entries   to read at most; 0: only keep the lease
-- ARGV[7] bytes     of all entries; at least one is read
-- ARGV[8] bytes     of one entry; of a larger one, only the size is returned
-- ARGV[9] seconds   after which Redis forgets the position unless somebody reads
--
-- Returns {0} if another one holds the lease, or else {1, position, entries lost, Redis' time in ms,
-- {id, fields or size}...}.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {0}
end
-- Two calls may bring the same id: those of two jobs at a time, or one that is tried again.
if holder and ARGV[3] ~= '' and redis.call('HGET', KEYS[2], 'id') ~= ARGV[3] then
  redis.call('HSET', KEYS[2], 'id', ARGV[3])
  redis.call('HINCRBY', KEYS[2], 'read', ARGV[4])
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return {0}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[6] == '0' then
  return {1, '', 0, 0, {}}
end

local info = {}
local reply = redis.pcall('XINFO', 'STREAM', KEYS[3])
if not reply.err then
  for i = 1, #reply, 2 do
    info[reply[i]] = reply[i + 1]
  end
elseif string.find(reply.err, 'no such key', 1, true) == nil then
  return reply
end
local added = info['entries-added'] or 0
local gone = added - (info['length'] or 0)  -- trimmed at the head: nobody deletes single entries

local position = redis.call('HGET', KEYS[2], 'id')
local lost = 0
if not position then
  position = ARGV[5]
  if position == '' then
    position = info['last-generated-id'] or '0-0'
    gone = added
  end
  redis.call('HSET', KEYS[2], 'id', position, 'read', gone)
else
  local read = tonumber(redis.call('HGET', KEYS[2], 'read') or 0)
  if added < read then  -- the stream was deleted, and begun anew
    redis.call('HSET', KEYS[2], 'read', gone)
  elseif gone > read then
    lost = gone - read
    redis.call('HSET', KEYS[2], 'read', gone)
  end
end
redis.call('EXPIRE', KEYS[2], ARGV[9])

local taken, total = {}, 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[3], '(' .. position, '+', 'COUNT', ARGV[6])) do
  local size = 0
  for _, field in ipairs(entry[2]) do
    size = size + #field
  end
  if size > tonumber(ARGV[8]) then
    taken[#taken + 1] = {entry[1], size}
  elseif total + size > tonumber(ARGV[7]) and #taken > 0 then
    break
  else
    total = total + size
    taken[#taken + 1] = entry
  end
end
local time = redis.call('TIME')
return {1, position, lost, time[1] * 1000 + math.floor(time[2] / 1000), taken}
