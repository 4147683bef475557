"""What the scripts of the queues (schedule_scripts.py) share: keeping entries, and the choice of the next job."""

from __future__ import annotations

from core.service.domain.places import COUNTED_OWNERS
from core.service.domain.scheduling import (
    FADES,
    GONE,
    LOOKED_AT,
    NEWEST_COUNTS,
    QUANTUM_SECONDS,
    QUIET_FADES,
    SPARE,
    UNAGED_PICKS,
    URGENT_LAG_SECONDS,
)
from core.service.redis import keys

ENTRIES = """
local function moment(given)
  if given ~= cjson.null then return given end
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end
local function exact(number) return string.format('%.17g', number) end
local function of_class(queue, class, what) return queue.key .. ':' .. class .. ':' .. what end
local function of_owner(queue, class, owner, what) return of_class(queue, class, what) .. ':' .. owner end

local function read(queue, job)
  local text = redis.call('HGET', queue.key .. ':entries', job)
  if not text then return nil end
  local entry = cjson.decode(text)
  entry.job = job
  return entry
end

local function clock_of(pool) return tonumber(redis.call('HGET', pool .. ':state', 'clock') or '0') end
local function served_of(pool, owner)
  return tonumber(redis.call('HGET', pool .. ':served', owner) or clock_of(pool))
end
local function set_served(pool, all, owner, served)
  redis.call('HSET', pool .. ':served', owner, exact(served))
  for _, queue in ipairs(all) do
    for class = 0, 2 do redis.call('ZADD', of_class(queue, class, 'owners'), 'XX', exact(served), owner) end
  end
end

local function add_free(pool, queue, entry)
  local class, owner = entry.priority, entry.owner
  redis.call('ZADD', of_owner(queue, class, owner, entry.begun and 'begun' or 'new'), exact(entry.order), entry.job)
  if entry.begun then
    local stalls = entry.stalls_at == cjson.null and '-inf' or exact(entry.stalls_at)
    redis.call('ZADD', of_owner(queue, class, owner, 'stalls'), stalls, entry.job)
    redis.call('ZADD', of_class(queue, class, 'stalls'), stalls, entry.job)
  end
  redis.call('ZADD', of_class(queue, class, 'waiting'), exact(entry.waits_since), entry.job)
  redis.call('HSETNX', pool .. ':served', owner, exact(clock_of(pool)))
  redis.call('ZADD', of_class(queue, class, 'owners'), exact(served_of(pool, owner)), owner)
end
local function remove_free(queue, entry)
  local class, owner, left = entry.priority, entry.owner, 0
  for _, what in ipairs({'new', 'begun', 'stalls'}) do
    redis.call('ZREM', of_owner(queue, class, owner, what), entry.job)
    left = left + redis.call('EXISTS', of_owner(queue, class, owner, what))
  end
  redis.call('ZREM', of_class(queue, class, 'waiting'), entry.job)
  redis.call('ZREM', of_class(queue, class, 'stalls'), entry.job)
  if left == 0 then redis.call('ZREM', of_class(queue, class, 'owners'), owner) end
end

local function note_mean(pool, what, newest)
  local before = tonumber(redis.call('HGET', pool .. ':state', what) or newest)
  redis.call('HSET', pool .. ':state', what, exact(before + $NEWEST * (newest - before)))
end
local function note_top(pool, what, newest)
  local before = tonumber(redis.call('HGET', pool .. ':state', what) or newest)
  redis.call('HSET', pool .. ':state', what, exact(math.max(newest, before + $FADES * (newest - before))))
end
local function settle(pool, all, queue, job, now, is_made)
  local field = queue.lane .. ' ' .. job
  local text = redis.call('HGET', pool .. ':charges', field)
  if not text then return false end
  redis.call('HDEL', pool .. ':charges', field)
  local expected, since, share, owner = string.match(text, '^(%S+) (%S+) (%S+) (.*)$')
  local seconds = math.max(0, now - tonumber(since))
  set_served(pool, all, owner, served_of(pool, owner) + (seconds - tonumber(expected)) / tonumber(share))
  if not is_made then return true end
  note_mean(pool, 'mean ' .. queue.lane, seconds)
  note_top(pool, 'longest', seconds)
  local entry = read(queue, job)
  local plays = entry and entry.plays_seconds or 0
  if plays > 0 then
    note_mean(pool, 'pace', seconds / plays)
    note_top(pool, 'top pace', seconds / plays)
  end
  return true
end

local function free_again(pool, all, queue, now)
  local held = queue.key .. ':held'
  for _, job in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', exact(now), 'LIMIT', 0, 64)) do
    local entry = read(queue, job)
    local left = redis.call('PTTL', '$JOB' .. job .. ':lease:' .. queue.lane)
    if entry and left > 0 then
      redis.call('ZADD', held, exact(now + left / 1000), job)
    else
      redis.call('ZREM', held, job)
      settle(pool, all, queue, job, now, false)
      if entry then add_free(pool, queue, entry) end
    end
  end
end
"""

COUNTS = """
-- The lanes of a model share a state.
local function counted(queue, what) return queue.lane == 'refine' and 'refine ' .. what or what end
local function count(pool, queue, entry, by)
  local state, kind = pool .. ':state', entry.begun and 'begun ' or 'new '
  redis.call('HINCRBY', state, counted(queue, kind .. 'pieces'), by * entry.pieces)
  redis.call('HINCRBY', state, counted(queue, kind .. 'jobs'), by)
  local is_stream = not entry.begun and entry.stalls_at ~= cjson.null
  redis.call('HINCRBY', state, counted(queue, 'streams'), is_stream and by or 0)
end
local function recount(pool, queue)
  for _, what in ipairs({'begun pieces', 'begun jobs', 'new pieces', 'new jobs'}) do
    redis.call('HDEL', pool .. ':state', counted(queue, what))
  end
  redis.call('HSET', pool .. ':state', counted(queue, 'streams'), 0)
  for _, text in ipairs(redis.call('HVALS', queue.key .. ':entries')) do count(pool, queue, cjson.decode(text), 1) end
end
"""

CHOOSE = """
local function comes_before(one, other)
  if not other then return true end
  if one.score ~= other.score then return one.score < other.score end
  if one.job ~= other.job then return one.job < other.job end
  return one.queue.lane == 'refine'
end
local function first_of(queues, read_one)
  local best
  for _, queue in ipairs(queues) do
    local found = read_one(queue)
    if found[1] then
      local one = {job = found[1], score = found[2] == '-inf' and -math.huge or tonumber(found[2]), queue = queue}
      if comes_before(one, best) then best = one end
    end
  end
  return best
end

local BEGUN, NEW, AHEAD = 1, 2, 3

local function enough_seconds(ask)
  local top = redis.call('HMGET', ask.pool .. ':state', 'top pace', 'longest')
  if not top[1] then return ask.ahead end
  local busy = redis.call('HLEN', ask.pool .. ':charges')
  -- The job of a worker that asks whether to go on is listed as free, and its charge is not settled yet.
  if ask.job then busy = busy - redis.call('HEXISTS', ask.pool .. ':charges', ask.queues[1].lane .. ' ' .. ask.job) end
  local viewers = busy
  for _, queue in ipairs(ask.queues) do
    for class = 0, 2 do viewers = viewers + redis.call('ZCARD', of_class(queue, class, 'stalls')) end
  end
  local workers = busy + 1
  local has_room = (viewers + 1) * tonumber(top[1]) < workers - $SPARE * math.sqrt(workers)
  return has_room and math.min(ask.ahead, ask.urgent + tonumber(top[2])) or ask.ahead
end

local function next_of_owner(ask, class, owner, enough)
  local function first(what)
    return first_of(ask.queues, function(queue)
      return redis.call('ZRANGE', of_owner(queue, class, owner, what), 0, 0, 'WITHSCORES')
    end)
  end
  local oldest = first('begun')
  if not oldest then
    local new = first('new')
    return new, NEW
  end
  local nearest = first('stalls')
  local oldest_stalls = redis.call('ZSCORE', of_owner(oldest.queue, class, owner, 'stalls'), oldest.job)
  oldest_stalls = oldest_stalls == '-inf' and -math.huge or tonumber(oldest_stalls)
  if oldest_stalls <= ask.now + enough then return oldest, BEGUN end
  if nearest.score <= ask.now + enough then return nearest, BEGUN end
  local new = first('new')
  if new then return new, NEW end
  return oldest_stalls > ask.now + ask.ahead and nearest or oldest, AHEAD
end

local function most_urgent(ask, class, least)
  local urgent = {}
  for _, queue in ipairs(ask.queues) do
    local found = redis.call('ZRANGEBYSCORE', of_class(queue, class, 'stalls'), exact(ask.now),
      '(' .. exact(ask.now + ask.urgent), 'WITHSCORES', 'LIMIT', 0, $LOOKED)
    for at = 1, #found, 2 do
      table.insert(urgent, {job = found[at], score = tonumber(found[at + 1]), queue = queue})
    end
  end
  table.sort(urgent, comes_before)
  for at = 1, math.min(#urgent, $LOOKED) do
    urgent[at].owner = read(urgent[at].queue, urgent[at].job).owner
    if served_of(ask.pool, urgent[at].owner) <= least + $URGENT then return urgent[at] end
  end
end

local function is_own(ask, choice)
  for _, job in ipairs(ask.own[choice.queue.lane] or {}) do
    if job == choice.job then return true end
  end
  return false
end

local function near_owners(ask, class)
  local known, near = {}, {}
  for _, queue in ipairs(ask.queues) do
    local found = redis.call('ZRANGE', of_class(queue, class, 'owners'), 0, $LOOKED - 1, 'WITHSCORES')
    for at = 1, #found, 2 do
      if not known[found[at]] then
        known[found[at]] = true
        table.insert(near, {owner = found[at], served = tonumber(found[at + 1])})
      end
    end
  end
  table.sort(near, function(one, other)
    if one.served ~= other.served then return one.served < other.served end
    return one.owner < other.owner
  end)
  return near
end

local function of_equal(ask, class, near)
  local choices, group, enough = {}, AHEAD, enough_seconds(ask)
  for at = 1, math.min(#near, $LOOKED) do
    if near[at].served > near[1].served + $QUANTUM then break end
    local choice, of_group = next_of_owner(ask, class, near[at].owner, enough)
    if choice then
      choice.owner, choice.group = near[at].owner, of_group
      group = math.min(group, of_group)
      table.insert(choices, choice)
    end
  end
  local best
  for _, choice in ipairs(choices) do
    if choice.group == group then
      if is_own(ask, choice) then return choice end
      best = best or choice
    end
  end
  return best
end

local function longest_waiting(ask, first)
  local longest
  for class = first + 1, 2 do
    local one = first_of(ask.queues, function(queue)
      return redis.call('ZRANGE', of_class(queue, class, 'waiting'), 0, 0, 'WITHSCORES')
    end)
    if one and comes_before(one, longest) then longest = one end
  end
  if longest and longest.score <= ask.now - ask.ageing then return longest end
end

local function choose(ask)
  for class = 0, 2 do
    local near = near_owners(ask, class)
    if #near > 0 then
      local unaged = tonumber(redis.call('HGET', ask.pool .. ':state', 'unaged') or '0')
      local aged = unaged >= $UNAGED and longest_waiting(ask, class)
      if aged then
        aged.owner, aged.aged = read(aged.queue, aged.job).owner, true
        return aged
      end
      return most_urgent(ask, class, near[1].served) or of_equal(ask, class, near)
    end
  end
end
"""

_VALUES = {
    "$NEWEST": NEWEST_COUNTS,
    "$FADES": FADES,
    "$QUIET": QUIET_FADES,
    "$GONE": GONE,
    "$LOOKED": LOOKED_AT,
    "$URGENT": URGENT_LAG_SECONDS,
    "$QUANTUM": QUANTUM_SECONDS,
    "$UNAGED": UNAGED_PICKS,
    "$SPARE": SPARE,
    "$COUNTED": COUNTED_OWNERS,
    "$JOB": keys.JOB_KEYS,
    "$QUEUES": keys.QUEUES,
}


def script(*parts: str) -> str:
    """A script of these parts, with the constants of the policy."""
    text = "".join(parts)
    for name, value in _VALUES.items():
        text = text.replace(name, str(value))
    return text
