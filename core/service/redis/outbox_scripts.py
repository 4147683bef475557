"""Lua scripts of the webhook outbox (outbox.py): each one atomic step on the sorted set of due deliveries."""

# ARGV[1] is the time, or '' for Redis' clock; ARGV[2] the prefix of job keys. `unsent` lists the pending deliveries of
# a job by place. Those of an older version are added when they are due, and removed if that version has ended them.
_COMMON = """
local due, prefix = KEYS[1], ARGV[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function unsent(job) return prefix .. job .. ':unsent' end
local function place(id) return tonumber(string.match(id, '_(%d+)_[a-z_]+$')) or 0 end
-- Several of one place sort by id, as sorted sets do: chunk_completed, chunk_refined, job_succeeded.
local function set_due(member, at) redis.call('ZADD', due, 'XX', string.format('%.6f', at), member) end
local function words_from(first)
  local words = {}
  for i = first, #ARGV do words[ARGV[i]] = true end
  return words
end
local function first_pending(job, skipped)
  local at = 0
  while true do
    local id = redis.call('ZRANGE', unsent(job), at, at)[1]
    if not id then return nil end
    if not redis.call('ZSCORE', due, job .. ' ' .. id) then
      redis.call('ZREM', unsent(job), id)
    elseif skipped[job .. ' ' .. id] then
      at = at + 1
    else
      return id
    end
  end
end
local function wake_first(job, skipped)
  local first = first_pending(job, skipped)
  if first and tonumber(redis.call('ZSCORE', due, job .. ' ' .. first)) > now then
    set_due(job .. ' ' .. first, now)
  end
end
"""

# Taking is atomic, so that two senders never take the same delivery: each one taken becomes due `hold` seconds later,
# and that score is the proof of its sender. Only the first pending delivery of a job is taken.
TAKE_DUE = (
    _COMMON
    + """
local limit, hold, behind, skipped = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), words_from(6)
local members = redis.call('ZRANGEBYSCORE', due, '-inf', string.format('%.6f', now), 'LIMIT', 0, limit)
local taken, rows = {}, {}
for _, member in ipairs(members) do
  local job, id = string.match(member, '^(%S+) (%S+)$')
  if job and redis.call('HEXISTS', prefix .. job .. ':deliveries', id) == 1 then
    redis.call('ZADD', unsent(job), place(id), id)
    table.insert(rows, {member, job, id})
  else
    redis.call('ZREM', due, member)
  end
end
for _, row in ipairs(rows) do
  local member, job, id = row[1], row[2], row[3]
  local head = first_pending(job, skipped)
  if skipped[member] then
    set_due(member, now + behind)
  elseif id ~= head then
    set_due(member, math.max(now + behind, tonumber(redis.call('ZSCORE', due, job .. ' ' .. head)) + 1))
  else
    set_due(member, now + hold)
    local disabled = redis.call('HGET', prefix .. job .. ':record', 'webhooks_disabled') or ''
    table.insert(taken, {job, id, redis.call('ZSCORE', due, member), disabled})
  end
end
return {#members, taken}
"""
)

# Only deliveries that are still held are renewed, or released.
HOLD = (
    _COMMON
    + """
local seconds, held = tonumber(ARGV[3]), {}
for i = 4, #ARGV, 2 do
  local score = redis.call('ZSCORE', due, ARGV[i])
  if score and score == ARGV[i + 1] then
    set_due(ARGV[i], now + seconds)
    score = redis.call('ZSCORE', due, ARGV[i])
  else
    score = ''
  end
  table.insert(held, score)
end
return held
"""
)

# A delivery of a purged job, or one that has ended, must not be written again. A failed attempt counts only while the
# delivery is held: another sender may have taken it. Of the ended deliveries the newest ARGV[9] are kept; the others
# are only counted.
RECORD = (
    _COMMON
    + """
local job, id, row, delay, proof, state = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8]
local kept, skipped = tonumber(ARGV[9]), words_from(10)
local deliveries, member = prefix .. ARGV[3] .. ':deliveries', ARGV[3] .. ' ' .. ARGV[4]
if redis.call('HEXISTS', deliveries, id) == 0 then
  redis.call('ZREM', due, member)
  return 0
end
local score = redis.call('ZSCORE', due, member)
if score and (not delay or proof == '' or proof == score) then
  redis.call('HSET', deliveries, id, row)
  if delay then
    set_due(member, now + delay)
  else
    redis.call('ZREM', due, member)
    redis.call('ZREM', unsent(job), id)
    redis.call('ZADD', prefix .. job .. ':ended', place(id), id)
  end
  if state == 'disabled' and redis.call('EXISTS', prefix .. job .. ':record') == 1 then
    redis.call('HSET', prefix .. job .. ':record', 'webhooks_disabled', '1')
  end
end
if not delay then wake_first(job, skipped) end
local first = first_pending(job, {})
while redis.call('ZCARD', prefix .. job .. ':ended') > kept do
  local oldest = redis.call('ZPOPMIN', prefix .. job .. ':ended')[1]
  redis.call('HDEL', deliveries, oldest)
  if not first or place(oldest) < place(first) then
    redis.call('HINCRBY', prefix .. job .. ':record', 'webhooks_dropped', 1)
  end
end
local ended = tonumber(redis.call('HGET', prefix .. job .. ':record', 'webhooks_dropped') or 0)
for _, other in ipairs(redis.call('HKEYS', deliveries)) do
  local is_behind = first and (place(other) > place(first) or place(other) == place(first) and other >= first)
  if not is_behind then ended = ended + 1 end
end
return ended
"""
)

# Makes the next delivery due if the first one of the job is skipped.
WAKE = _COMMON + "wake_first(ARGV[3], words_from(4))"
