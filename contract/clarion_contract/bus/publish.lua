-- Publishes one event, atomically: idempotency key, id, log, trim, PUBLISH. An event without history
-- is not logged.
--
-- KEYS[1] log      stream of the audience; entries <id>-0 with fields p (prev), h (header), d (data), and
--                  l (id of the logged event before) if it is not prev
-- KEYS[2] meta     hash of the stream: last (id of its newest event), aged (second of its last trim),
--                  logged ("<id of the newest logged event> <last>"; it counts only while last is the same)
-- KEYS[3] clock    hash: now (last id issued), epoch (floor under every id of this data set)
-- KEYS[4] key      string "<id> <gateways> <fingerprint>" under the idempotency key; unused without one
--
-- ARGV[1] channel
-- ARGV[2] header       "<type> <exclude or -> <traceparent or ->"
-- ARGV[3] data         JSON, passed on byte for byte
-- ARGV[4] max events   events kept in the log, about; 0: this one is not logged
-- ARGV[5] max age ms   for two such ages the stream is remembered; the same for all streams
-- ARGV[6] fingerprint  of the publication; empty: no idempotency key
-- ARGV[7] key ttl ms   how long an idempotency key is remembered
-- ARGV[8] command      PUBLISH, or SPUBLISH on a cluster
-- ARGV[9] lane         lowest bit of the id, so that no client gets one id from two clocks; empty: either bit
-- ARGV[10] log age ms  age of the events kept in the log, about; at most the max age
--
-- Returns {id, outcome, gateways}; outcome 0: published, 1: duplicate of the event with that id,
-- 2: the key was used for another event. gateways: subscribers that PUBLISH reached.

local fingerprint = ARGV[6]
if fingerprint ~= '' then
  local seen = redis.call('GET', KEYS[4])
  if seen then
    local id, gateways, known = string.match(seen, '^(%d+) (%d+) (.*)$')
    if known == fingerprint then
      -- Changes nothing, but is a write. Without a write on its connection, WAIT waits for nothing,
      -- and a retry would report copies on replicas that may not have them.
      redis.call('PEXPIREAT', KEYS[4], redis.call('PEXPIRETIME', KEYS[4]))
      return {id, 1, tonumber(gateways)}
    end
    return {id, 2, 0}
  end
end

-- Microseconds fit a Lua number (2^53) until the year 2255.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local issued = redis.call('HMGET', KEYS[3], 'now', 'epoch')
local epoch = tonumber(issued[2])
if not epoch then
  epoch = now - 1
  redis.call('HSET', KEYS[3], 'epoch', string.format('%.0f', epoch))
end
local remembered = redis.call('HMGET', KEYS[2], 'last', 'aged', 'logged')
-- Also above the stream's own last id: XADD must not refuse when the clock was evicted.
local id = math.max(now, (tonumber(issued[1]) or 0) + 1, (tonumber(remembered[1]) or 0) + 1)
if ARGV[9] ~= '' and id % 2 ~= tonumber(ARGV[9]) then id = id + 1 end
local text = string.format('%.0f', id)

-- meta outlives the log's events by one max age or more. If meta is missing, nothing was published on this
-- stream for two max ages, or since the data set began; the later of the two is the floor.
local max_age = tonumber(ARGV[5])
local prev = remembered[1]
local told = prev
if not prev then
  prev = string.format('%.0f', math.max(epoch, now - 2000 * max_age))
  -- Subscribers are told where the data set began, because it may have lost events that they heard.
  -- A stream that was only quiet for long has no gap.
  told = epoch > now - 2000 * max_age and prev or '0'
end

-- The newest event may be one without history. Publishers of version 0.1 write last and not logged.
local logged, at = string.match(remembered[3] or '', '^(%d+) (%d+)$')
if at ~= prev then logged = prev end

-- This write comes first, because only this one can be refused (another type under the key, memory),
-- and Redis does not roll a script back.
local data = ARGV[3]
if ARGV[4] == '0' then
  redis.call('HSET', KEYS[2], 'logged', logged .. ' ' .. text)
  data = ' ' .. data  -- tells gateways that the log does not have it
elseif logged == prev then
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], text .. '-0', 'p', prev, 'h', ARGV[2], 'd', data)
else
  redis.call(
    'XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], text .. '-0', 'p', prev, 'h', ARGV[2], 'd', data, 'l', logged
  )
end
redis.call('HSET', KEYS[3], 'now', text)
local second = math.floor(now / 1000000)
if tonumber(remembered[2]) == second then
  redis.call('HSET', KEYS[2], 'last', text)
else
  -- Trimming once a second is enough, so a busy stream makes these three calls once a second. The
  -- second is Redis' time, since the time in ids stands still while Redis' time is behind them.
  redis.call('HSET', KEYS[2], 'last', text, 'aged', string.format('%.0f', second))
  redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', now - 1000 * ARGV[10]))
  redis.call('PEXPIRE', KEYS[1], ARGV[10] + 1000)
  redis.call('PEXPIRE', KEYS[2], 2 * max_age + 1000)
end
local gateways = redis.call(ARGV[8], ARGV[1], text .. ' ' .. told .. ' ' .. ARGV[2] .. '\n' .. data)
if fingerprint ~= '' then
  redis.call('SET', KEYS[4], text .. ' ' .. gateways .. ' ' .. fingerprint, 'PX', ARGV[7])
end
return {text, 0, gateways}
