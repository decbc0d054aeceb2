-- Writes a piece of a growing text, or ends the text, atomically. It follows event.lua and floor.lua.
--
-- Each piece is an event. The log holds only the newest one of each text, and history.lua puts the whole text
-- into it. So whoever reads the log gets everything so far in one event.
--
-- KEYS[1] log, KEYS[2] meta, KEYS[3] clock: see publish.lua. Entries of texts have w (the event's data up to the
--                  text) and t (the text's name) in place of d
-- KEYS[4] state    hash of the text: state, seq (number of its newest piece), header, reason,
--                  entry (id of its entry in the log), beat (ms; when its producer was last heard), lease (ms)
-- KEYS[5] text     string: everything so far, as it stands within a JSON string
--
-- ARGV[1] channel, ARGV[2] command, ARGV[3] lane, ARGV[4] max events, ARGV[5] max age ms, ARGV[6] log age ms:
--                  see publish.lua
-- ARGV[7] header      of all its events; the first piece brings it
-- ARGV[8] name        of the text
-- ARGV[9] deed        write, beat (the producer lives), end (by anybody), lost (end it if its producer is silent)
-- ARGV[10] seq        write: the piece's number, from 1. A piece that is written again changes nothing
-- ARGV[11] piece      as it stands within a JSON string
-- ARGV[12] state      from now on: writing, done, failed, stopped
-- ARGV[13] reason     one word, or empty
-- ARGV[14] max bytes  of the whole text; a piece that does not fit ends it
-- ARGV[15] lease ms   how long a producer may be silent; the first piece brings it
-- ARGV[16] keep ms    see publish.lua
--
-- Returns {outcome, state, seq, reason, rest ms of the lease}. outcome 0: done, 1: nothing to do,
-- 2: there is no such text, 3: pieces before this one are missing.

local deed, wanted = ARGV[9], ARGV[12]
local known = redis.call('HMGET', KEYS[4], 'state', 'seq', 'header', 'reason', 'entry', 'beat', 'lease')
local state, seq, header, reason, entry = known[1], tonumber(known[2] or 0), known[3], known[4], known[5]
local lease = tonumber(known[7] or ARGV[15])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local rest = lease - (now - tonumber(known[6] or now))

local function answer(outcome)
  return {outcome, state or '', seq, reason or '', math.max(0, rest)}
end

local log_age = tonumber(ARGV[6])
local lives = math.max(log_age, tonumber(ARGV[16])) + 2000
local function live()
  redis.call('HSET', KEYS[4], 'beat', now)
  redis.call('PEXPIRE', KEYS[4], lives)
  redis.call('PEXPIRE', KEYS[5], lives)
end

local piece = ARGV[11]
if deed == 'write' then
  local number = tonumber(ARGV[10])
  if not state then
    if number ~= 1 then return answer(2) end
    header, reason = ARGV[7], ''
  elseif number <= seq or state ~= 'writing' then
    return answer(1)
  elseif number ~= seq + 1 then
    return answer(3)
  end
  if redis.call('STRLEN', KEYS[5]) + #piece > tonumber(ARGV[14]) then
    piece, wanted, reason = '', 'failed', 'too_large'
  else
    reason = ARGV[13]
  end
elseif not state then
  return answer(2)
elseif state ~= 'writing' then
  return answer(1)
elseif deed == 'beat' then
  live()
  rest = lease
  return answer(1)
elseif deed == 'lost' and rest > 0 then
  return answer(1)
else
  reason = ARGV[13]
end

state, seq = wanted, seq + 1
local function head(whole)
  local said = '{"stream":"' .. ARGV[8] .. '","seq":' .. string.format('%.0f', seq) .. ',"whole":' .. whole
    .. ',"state":"' .. state .. '"'
  if reason ~= '' then said = said .. ',"reason":"' .. reason .. '"' end
  return said .. ',"text":"'
end

-- This event replaces the text's entry in the log. If that is the first one, the log reaches as far back
-- without it.
local floor
if entry then
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if first and first[1] == entry then floor = floor_of(first, KEYS[2]) end
end
-- The tab tells gateways that this is a piece of a text.
local published = publish_event(
  {log = KEYS[1], meta = KEYS[2], clock = KEYS[3]},
  {channel = ARGV[1], command = ARGV[2], lane = ARGV[3]},
  {max = tonumber(ARGV[5]), log = log_age, keep = tonumber(ARGV[16])},
  header,
  '\t' .. head(seq == 1 and 'true' or 'false') .. piece .. '"}',
  {'w', head('true'), 't', ARGV[8]},
  ARGV[4]
)
redis.call('APPEND', KEYS[5], piece)
if entry then
  redis.call('XDEL', KEYS[1], entry)
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if floor and first then redis.call('HSET', KEYS[2], 'floor', first[1] .. ' ' .. floor) end
end
redis.call(
  'HSET', KEYS[4], 'state', state, 'seq', seq, 'header', header, 'reason', reason,
  'entry', published[1] .. '-0', 'lease', lease
)
live()
rest = lease
return answer(0)
