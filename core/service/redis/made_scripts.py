"""Lua scripts of made.py: core.service.domain.rates. ARGV[1]: seconds since 1970, or "" for Redis' own time."""

from __future__ import annotations

from core.service.domain.rates import BUCKET_SECONDS, KEPT_SECONDS, WHOLE_BUCKETS
from core.service.redis import keys

_NOW = f"""
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end
local newest = math.floor(now / {BUCKET_SECONDS})
local function bucket(number) return '{keys.MADE_KEYS}' .. string.format('%d', number) end
"""

# Adds chunks, frames and milliseconds (ARGV[3] to [5]) to those of a lane and model (ARGV[2]).
COUNT = f"""{_NOW}
local key = bucket(newest)
for at, what in ipairs({{'chunks', 'frames', 'milliseconds'}}) do
  redis.call('HINCRBY', key, ARGV[2] .. ' ' .. what, ARGV[2 + at])
end
redis.call('EXPIRE', key, {KEPT_SECONDS})
"""

# The time, and what is in each of the newest buckets: name, number, name, number...
READ = f"""{_NOW}
local found = {{string.format('%.17g', now)}}
for number = newest - {WHOLE_BUCKETS}, newest do
  table.insert(found, redis.call('HGETALL', bucket(number)))
end
return found
"""
