"""Lua scripts of the job store: what must be read and written in one step without a WATCH."""

from __future__ import annotations

from core.service.redis import schedule_scripts

# Entry n of the log has id n-0, so that a rewritten log keeps the ids that clients know. If an older version has added
# entries with other ids, Redis chooses the id. Old entries go, whole blocks of about a hundred at a time.
# Redis reserves 4 KiB for the first block of a stream. Loaded from a dump, a block has the size of its entries, and
# grows with them: a queued job, whose log has one entry, needs half the memory. Where RESTORE is refused it stays.
APPEND_EVENT = """
local fields = {unpack(ARGV, 3)}
local answer = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], ARGV[2], unpack(fields))
if type(answer) == 'table' and answer.err then
  answer = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(fields))
end
if redis.call('XLEN', KEYS[1]) == 1 then
  local dump = redis.pcall('DUMP', KEYS[1])
  if type(dump) == 'string' then redis.pcall('RESTORE', KEYS[1], 0, dump, 'REPLACE') end
end
return answer
"""

# Renews a lease, also an expired one (Redis was down or the worker was suspended), unless the lane was claimed again
# (the record has a newer token) or released. A lane that the same worker kept with a commit is renewed under the next
# token: it may not know of that.
RENEW = """
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
local row = redis.call('HGET', KEYS[2], 'record')
if not row then return 0 end
local record, token = cjson.decode(row), tonumber(ARGV[1])
local lane = record.lanes[ARGV[3]]
if record.delete_requested or not lane or not lane.held then return 0 end
if lane.kept_token == token + 1 then token = token + 1 end
local newest = string.format('%d', token)
if lane.token ~= token or (held and held ~= newest) then return 0 end
redis.call('SET', KEYS[1], newest, 'PX', ARGV[2])
return 1
"""

# The manifest of revision ARGV[2] is stored, and the pages that had changed until then. Returns 1 if the record is
# another one (newer; or older, rebuilt after Redis was lost), whose manifest must be written; 2 if the job was deleted.
MANIFEST_STORED = """
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 2 end
local newest = redis.call('HGET', KEYS[3], 'revision')
if not newest or tonumber(newest) >= tonumber(ARGV[2]) then redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', ARGV[2]) end
if newest and tonumber(newest) ~= tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], newest, ARGV[1])
  return 1
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 0
"""

# The record of each job of KEYS: one command, whose answer is read faster than those of many.
RECORDS = """
local found = {}
for at, key in ipairs(KEYS) do found[at] = redis.call('HGET', key, 'record') end
return found
"""

# What answers about jobs depend on. Of each job: digest of the record; place in the queue and expected wait in
# seconds, or ""; the field ARGV[1]; newest progress of each of its ARGV[2] lanes. KEYS: of each job its own key,
# then those of its lanes.
LOOK = (
    schedule_scripts.POSITION
    + """
local lanes, seen = tonumber(ARGV[2]), {}
for first = 1, #KEYS, 1 + lanes do
  local job = redis.call('HMGET', KEYS[first], 'digest', 'place', ARGV[1])
  local found = {job[1], place_of(job[2]), job[3]}
  for lane = 1, lanes do
    local entry = redis.call('XREVRANGE', KEYS[first + lane], '+', '-', 'COUNT', 1)[1]
    found[3 + lane] = entry and entry[2][2] or ''
  end
  table.insert(seen, found)
end
return seen
"""
)

# The place of each job of KEYS, as LOOK.
PLACES = (
    schedule_scripts.POSITION
    + """
local found = {}
for _, key in ipairs(KEYS) do table.insert(found, place_of(redis.call('HGET', key, 'place'))) end
return found
"""
)

ANOTHER_OWED, DELETED = 1, 2
"""Answers of MANIFEST_STORED."""

# Stores progress, but does not create keys of a purged job. Returns 0 while workers may go on.
REPORT_PROGRESS = """
local stop = redis.call('HGET', KEYS[1], 'stop')
if not stop then return 1 end
redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', ARGV[1], ARGV[2])
return stop == '0' and 0 or 1
"""
