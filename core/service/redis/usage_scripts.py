"""Lua scripts of usage.py."""

# Counters of an owner: unfinished jobs, frames of today, bytes; and whether they are complete.
READ = """
return {
  redis.call('SCARD', KEYS[1]),
  tonumber(redis.call('GET', KEYS[2]) or '0'),
  tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0'),
  redis.call('EXISTS', KEYS[4])
}
"""

# Sets the bytes of one job or upload, and with them the total of its owner, which stays their sum whatever is missed.
SET_BYTES = """
local before, now = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0'), tonumber(ARGV[2])
if now == 0 then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('HINCRBY', KEYS[1], ARGV[3], string.format('%.0f', now - before))
"""
