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
-- Only the first pending delivery of a job is held. Its score when it was taken tells it from one that waits.
local function hold_for(job, member, seconds)
  set_due(member, now + seconds)
  local proof = redis.call('ZSCORE', due, member)
  redis.call('SET', prefix .. job .. ':held', proof, 'PX', math.ceil(seconds * 1000))
  return proof
end
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
    if job then redis.call('ZREM', unsent(job), id) end
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
    local proof = hold_for(job, member, hold)
    local disabled = redis.call('HGET', prefix .. job .. ':record', 'webhooks_disabled') or ''
    table.insert(taken, {job, id, proof, disabled})
  end
end
return {#members, taken}
"""
)

# Only deliveries that are still held are renewed (ARGV[4] is '1'), or released.
HOLD = (
    _COMMON
    + """
local seconds, renews, held = tonumber(ARGV[3]), ARGV[4] == '1', {}
for i = 5, #ARGV, 2 do
  local score = redis.call('ZSCORE', due, ARGV[i])
  if score and score == ARGV[i + 1] and renews then
    score = hold_for(string.match(ARGV[i], '^%S+'), ARGV[i], seconds)
  elseif score and score == ARGV[i + 1] then
    set_due(ARGV[i], now + seconds)
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
local job, id, row, delay, proof, turns_off = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8]
local kept, skipped = tonumber(ARGV[9]), words_from(10)
local deliveries, record, member = prefix .. job .. ':deliveries', prefix .. job .. ':record', job .. ' ' .. id
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
    if redis.call('EXISTS', record) == 1 then redis.call('ZADD', prefix .. job .. ':ended', place(id), id) end
  end
  if turns_off == '1' and redis.call('EXISTS', record) == 1 then
    redis.call('HSET', record, 'webhooks_disabled', '1')
  end
end
if not delay then wake_first(job, skipped) end
local first = first_pending(job, {})
while redis.call('ZCARD', prefix .. job .. ':ended') > kept do
  local oldest = redis.call('ZPOPMIN', prefix .. job .. ':ended')[1]
  redis.call('HDEL', deliveries, oldest)
  if not first or place(oldest) < place(first) then
    redis.call('HINCRBY', record, 'webhooks_dropped', 1)
  end
end
local gap = redis.call('HMGET', record, 'webhooks_skipped', 'webhooks_skipped_before', 'webhooks_skipped_to')
if gap[1] and gap[1] ~= gap[2] and (not first or place(first) > tonumber(gap[3])) then
  redis.call('HINCRBY', record, 'webhooks_dropped', gap[1] - (gap[2] or 0))
  redis.call('HSET', record, 'webhooks_skipped_before', gap[1])
end
local ended = tonumber(redis.call('HGET', record, 'webhooks_dropped') or 0)
for _, other in ipairs(redis.call('HKEYS', deliveries)) do
  local is_behind = first and (place(other) > place(first) or place(other) == place(first) and other >= first)
  if not is_behind then ended = ended + 1 end
end
return ended
"""
)

# Gives up the oldest deliveries of chunks while more than ARGV[3] of a job wait; never the first: it may be on its way,
# and its schedule spares a receiver that is down. KEYS: due, the job's unsent, deliveries, record. ARGV: job, limit.
BOUND = """
local excess, at = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[2]), 1
while excess > 0 do
  local id = redis.call('ZRANGE', KEYS[2], at, at)[1]
  if not id then return end
  if string.match(id, '_chunk_[a-z]+$') then
    redis.call('ZREM', KEYS[1], ARGV[1] .. ' ' .. id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    redis.call('HINCRBY', KEYS[4], 'webhooks_skipped', 1)
    redis.call('HSET', KEYS[4], 'webhooks_skipped_to', tonumber(string.match(id, '_(%d+)_[a-z_]+$')))
    excess = excess - 1
  else
    at = at + 1
  end
end
"""

# Makes a delivery due now if it is still as its reader saw it (ARGV[5]), and writes it as ARGV[6]. Returns 'changed' if
# it is not, 'sending' while the first pending delivery of the job is held, the id of that one if the delivery waits
# behind it, else ''.
SEND_AGAIN = (
    _COMMON
    + """
local job, id, seen, row = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local deliveries, member = prefix .. job .. ':deliveries', job .. ' ' .. id
if redis.call('HGET', deliveries, id) ~= seen then return 'changed' end
local first = first_pending(job, {})
local score = first and redis.call('ZSCORE', due, job .. ' ' .. first)
if first and tonumber(score) > now and score == redis.call('GET', prefix .. job .. ':held') then return 'sending' end
if redis.call('ZSCORE', due, member) and first ~= id then return first end
redis.call('HSET', deliveries, id, row)
redis.call('ZREM', prefix .. job .. ':ended', id)
redis.call('ZADD', unsent(job), place(id), id)
redis.call('ZADD', due, string.format('%.6f', now), member)
redis.call('HDEL', prefix .. job .. ':record', 'webhooks_disabled')
return ''
"""
)

# Adds a ping unless its owner has ARGV[7] that are kept. Returns the seconds until one of them is not, else ''.
# KEYS: due, the owner's pings. ARGV: time, prefix, job, id, row, seconds that a ping is kept, limit.
ADD_PING = (
    _COMMON
    + """
local job, id, row, kept, most = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', now - kept))
if redis.call('ZCARD', KEYS[2]) >= most then
  return tostring(tonumber(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]) + kept - now)
end
redis.call('ZADD', KEYS[2], string.format('%.6f', now), job)
redis.call('EXPIRE', KEYS[2], kept)
redis.call('HSET', prefix .. job .. ':deliveries', id, row)
redis.call('EXPIRE', prefix .. job .. ':deliveries', kept)
redis.call('ZADD', due, string.format('%.6f', now), job .. ' ' .. id)
return ''
"""
)

# Makes the next delivery due if the first one of the job is skipped.
WAKE = _COMMON + "wake_first(ARGV[3], words_from(4))"
