-- One command on one key, for modules that have no script of their own: it goes where scripts go.
--
-- KEYS[1] key
--
-- ARGV[1]   command
-- ARGV[2...] its arguments behind the key
--
-- Returns what the command does.

return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
