-- Publishes one event, atomically: idempotency key, id, log, trim, PUBLISH. An event without history
-- is not logged. It follows event.lua.
--
-- KEYS[1] log      stream of the audience; entries <id>-0 with fields p (prev), h (header), d (data), and
--                  l (id of the logged event before) if it is not prev. text.lua writes others
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
-- ARGV[11] keep ms     how long the newest events stay if none follows, if that is longer
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

local data, fields = ARGV[3], nil
if ARGV[4] == '0' then
  data = ' ' .. data  -- tells gateways that the log does not have it
else
  fields = {'d', data}
end
local published = publish_event(
  {log = KEYS[1], meta = KEYS[2], clock = KEYS[3]},
  {channel = ARGV[1], command = ARGV[8], lane = ARGV[9]},
  {max = tonumber(ARGV[5]), log = tonumber(ARGV[10]), keep = tonumber(ARGV[11])},
  ARGV[2], data, fields, ARGV[4]
)
local id, gateways = published[1], published[2]
if fingerprint ~= '' then
  redis.call('SET', KEYS[4], id .. ' ' .. gateways .. ' ' .. fingerprint, 'PX', ARGV[7])
end
return {id, 0, gateways}
