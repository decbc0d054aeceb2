-- Tries each command that the other scripts and the services send to Redis, on keys of its own; for `clarion check`.
--
-- KEYS[1] stream, KEYS[2] hash, KEYS[3] string, KEYS[4] sorted set: they end by themselves after a second
--
-- ARGV[1] channel
-- ARGV[2] PUBLISH or SPUBLISH
--
-- Returns {command, error} for each one that failed. A command without a right fails like any other.

local commands = {
  {'TIME'},
  {'XADD', KEYS[1], '*', 'a', '1'},
  {'XRANGE', KEYS[1], '-', '+', 'COUNT', '1'},
  {'XREVRANGE', KEYS[1], '+', '-', 'COUNT', '1'},
  {'XTRIM', KEYS[1], 'MAXLEN', '1'},
  {'XDEL', KEYS[1], '1-1'},
  {'HSET', KEYS[2], 'a', '1'},
  {'HSETNX', KEYS[2], 'a', '1'},
  {'HGET', KEYS[2], 'a'},
  {'HMGET', KEYS[2], 'a'},
  {'HGETALL', KEYS[2]},
  {'HLEN', KEYS[2]},
  {'HDEL', KEYS[2], 'b'},
  {'SET', KEYS[3], '1', 'PX', '1000'},
  {'GET', KEYS[3]},
  {'APPEND', KEYS[3], '1'},
  {'STRLEN', KEYS[3]},
  {'PEXPIRETIME', KEYS[3]},
  {'PEXPIREAT', KEYS[3], '1'},
  {'ZADD', KEYS[4], '1', 'a'},
  {'ZCARD', KEYS[4]},
  {'ZRANGE', KEYS[4], '0', '0'},
  {'ZREM', KEYS[4], 'b'},
  {'ZREMRANGEBYSCORE', KEYS[4], '0', '0'},
  {'EXPIRE', KEYS[1], '1'},
  {'PEXPIRE', KEYS[2], '1000'},
  {'EXPIRE', KEYS[4], '1'},
  {ARGV[2], ARGV[1], ''},
}
local failed = {}
for _, command in ipairs(commands) do
  local reply = redis.pcall(unpack(command))
  if type(reply) == 'table' and reply.err then
    failed[#failed + 1] = {command[1], reply.err}
  end
end
return failed
