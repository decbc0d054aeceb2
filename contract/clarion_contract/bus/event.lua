-- Issues an id, keeps an event in its stream's log, trims the log, and publishes the event. publish.lua
-- and text.lua begin with it.
--
-- keys      log, meta, clock: see publish.lua
-- to        channel, command and lane: see publish.lua
-- ages      max (ms), log (ms), keep (ms): see publish.lua
-- header    "<type> <exclude or -> <traceparent or ->"
-- data      the message's
-- fields    of the log's entry beside p and h; nil: the event is not logged
-- max_events  kept in the log, about
--
-- Returns {id, subscribers that PUBLISH reached}.
local function publish_event(keys, to, ages, header, data, fields, max_events)
  -- Microseconds fit a Lua number (2^53) until the year 2255.
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local issued = redis.call('HMGET', keys.clock, 'now', 'epoch')
  local epoch = tonumber(issued[2])
  if not epoch then
    epoch = now - 1
    redis.call('HSET', keys.clock, 'epoch', string.format('%.0f', epoch))
  end
  local remembered = redis.call('HMGET', keys.meta, 'last', 'aged', 'logged')
  -- Also above the stream's own last id: XADD must not refuse when the clock was evicted.
  local id = math.max(now, (tonumber(issued[1]) or 0) + 1, (tonumber(remembered[1]) or 0) + 1)
  if to.lane ~= '' and id % 2 ~= tonumber(to.lane) then id = id + 1 end
  local text = string.format('%.0f', id)

  -- meta outlives the log's events by one max age or more. If meta is missing, nothing was published on this
  -- stream for two max ages, or since the data set began; the later of the two is the floor.
  local prev = remembered[1]
  local told = prev
  if not prev then
    prev = string.format('%.0f', math.max(epoch, now - 2000 * ages.max))
    -- Subscribers are told where the data set began, because it may have lost events that they heard.
    -- A stream that was only quiet for long has no gap.
    told = epoch > now - 2000 * ages.max and prev or '0'
  end

  -- The newest event may be one without history. Publishers of version 0.1 write last and not logged.
  local logged, at = string.match(remembered[3] or '', '^(%d+) (%d+)$')
  if at ~= prev then logged = prev end

  -- This write comes first, because only this one can be refused (another type under the key, memory),
  -- and Redis does not roll a script back.
  if not fields then
    redis.call('HSET', keys.meta, 'logged', logged .. ' ' .. text)
  else
    if logged ~= prev then
      fields[#fields + 1] = 'l'
      fields[#fields + 1] = logged
    end
    redis.call(
      'XADD', keys.log, 'MAXLEN', '~', max_events, text .. '-0', 'p', prev, 'h', header, unpack(fields)
    )
  end
  redis.call('HSET', keys.clock, 'now', text)
  local second = math.floor(now / 1000000)
  if tonumber(remembered[2]) == second then
    redis.call('HSET', keys.meta, 'last', text)
  else
    -- Trimming once a second is enough, so a busy stream makes these three calls once a second. The
    -- second is Redis' time, since the time in ids stands still while Redis' time is behind them.
    redis.call('HSET', keys.meta, 'last', text, 'aged', string.format('%.0f', second))
    redis.call('XTRIM', keys.log, 'MINID', '~', string.format('%.0f', now - 1000 * ages.log))
    redis.call('PEXPIRE', keys.log, math.max(ages.log, ages.keep) + 1000)
    redis.call('PEXPIRE', keys.meta, math.max(2 * ages.max, ages.keep) + 1000)
  end
  local gateways = redis.call(
    to.command, to.channel, text .. ' ' .. told .. ' ' .. header .. '\n' .. data
  )
  return {text, gateways}
end
