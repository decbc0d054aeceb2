-- Stores a value for a while.
--
-- KEYS[1] any          string
--
-- ARGV[1] value
-- ARGV[2] seconds after which Redis forgets it, unless it is stored again

redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
