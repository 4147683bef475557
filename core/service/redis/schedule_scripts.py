"""Lua scripts of the queues: core.service.domain.scheduling with indexes, each script one step.

Keys of a queue (keys.queue_key), by class 0 to 2: `owners`, those with free entries, by served seconds; `waiting`, the
free entries by the time since which they wait; `stalls`, the begun ones among them by the time of the stall (-inf:
nothing to see). By class and owner the free entries again: `new` and `begun` by order, and `stalls`. Of the whole
queue: `entries` (hash, JSON), also of claimed jobs; `held`, those that cannot be claimed, by the time when they may be
again. Keys of a pool (keys.pool_key): `served`, `waiting`, `charges`, `state`; see scheduling.Pool.

The time is Redis' own, unless a caller gives another `now`, as tests do: the clocks of machines may differ.

Scores and sums are written with 17 digits, so that they are the same numbers as in Python.
"""

from __future__ import annotations

from core.service.domain.scheduling import LOOKED_AT, NEWEST_COUNTS, QUANTUM_SECONDS, UNAGED_PICKS, URGENT_LAG_SECONDS
from core.service.redis import keys

_ENTRIES = """
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

local function settle(pool, all, queue, job, now)
  local field = queue.lane .. ' ' .. job
  local text = redis.call('HGET', pool .. ':charges', field)
  if not text then return false end
  redis.call('HDEL', pool .. ':charges', field)
  local expected, since, share, owner = string.match(text, '^(%S+) (%S+) (%S+) (.*)$')
  local seconds = math.max(0, now - tonumber(since))
  set_served(pool, all, owner, served_of(pool, owner) + (seconds - tonumber(expected)) / tonumber(share))
  local before = tonumber(redis.call('HGET', pool .. ':state', 'mean ' .. queue.lane) or seconds)
  redis.call('HSET', pool .. ':state', 'mean ' .. queue.lane, exact(before + $NEWEST * (seconds - before)))
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
      settle(pool, all, queue, job, now)
      if entry then add_free(pool, queue, entry) end
    end
  end
end
"""

_CHOOSE = """
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

local function next_of_owner(ask, class, owner)
  local function first(what)
    return first_of(ask.queues, function(queue)
      return redis.call('ZRANGE', of_owner(queue, class, owner, what), 0, 0, 'WITHSCORES')
    end)
  end
  local oldest = first('begun')
  if oldest then
    local stalls = redis.call('ZSCORE', of_owner(oldest.queue, class, owner, 'stalls'), oldest.job)
    if stalls == '-inf' or tonumber(stalls) <= ask.now + ask.ahead then return oldest, BEGUN end
  end
  local nearest = first('stalls')
  if nearest and nearest.score <= ask.now + ask.ahead then return nearest, BEGUN end
  local new = first('new')
  if new then return new, NEW end
  return nearest, AHEAD
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
  local choices, group = {}, AHEAD
  for at = 1, math.min(#near, $LOOKED) do
    if near[at].served > near[1].served + $QUANTUM then break end
    local choice, of_group = next_of_owner(ask, class, near[at].owner)
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

# Puts the entry of a job into a queue, changes it or (entry null) takes it out. `state`: free; claim, rest: cannot be
# claimed for `rest` seconds; same: as it was, and if it was not there, whatever its lease says.
_PUT = """
local put = cjson.decode(ARGV[1])
local pool, all, queue, job, now = put.pool, put.all, put.queue, put.job, moment(put.now)
local held = queue.key .. ':held'

local function count(entry, by)
  if queue.lane ~= 'generate' then return end
  redis.call('HINCRBY', pool .. ':state', entry.begun and 'begun pieces' or 'new pieces', by * entry.pieces)
  redis.call('HINCRBY', pool .. ':state', entry.begun and 'begun jobs' or 'new jobs', by)
end
local function begin()
  local state = redis.call('HMGET', pool .. ':state', 'begun jobs', 'new jobs', 'slots')
  local begun, waiting, slots = tonumber(state[1] or '1'), tonumber(state[2] or '0'), tonumber(state[3] or '0')
  if waiting == 0 or slots == 0 then
    slots = math.max(slots, begun)
  else
    slots = slots + $NEWEST * (begun - slots)
  end
  redis.call('HSET', pool .. ':state', 'slots', exact(slots))
end
local function join(owner)
  if redis.call('HINCRBY', pool .. ':waiting', owner, 1) == 1 then
    set_served(pool, all, owner, math.max(served_of(pool, owner), clock_of(pool)))
  end
end
local function leave(owner)
  if redis.call('HINCRBY', pool .. ':waiting', owner, -1) > 0 then return end
  redis.call('HDEL', pool .. ':waiting', owner)
  if served_of(pool, owner) <= clock_of(pool) then redis.call('HDEL', pool .. ':served', owner) end
end
local function charge(entry)
  local expected = tonumber(redis.call('HGET', pool .. ':state', 'mean ' .. queue.lane) or '0')
  local text = table.concat({exact(expected), exact(now), exact(entry.share), entry.owner}, ' ')
  redis.call('HSET', pool .. ':charges', queue.lane .. ' ' .. job, text)
  set_served(pool, all, entry.owner, served_of(pool, entry.owner) + expected / entry.share)
end

local old = read(queue, job)
local was_held = old and redis.call('ZSCORE', held, job)
if old then
  if not was_held then remove_free(queue, old) end
  count(old, -1)
end
if put.entry == cjson.null then
  if old then
    settle(pool, all, queue, job, now)
    redis.call('HDEL', queue.key .. ':entries', job)
    redis.call('ZREM', held, job)
    leave(old.owner)
  end
  return
end
local entry = cjson.decode(put.entry)
entry.job = job
if not old then
  redis.call('SADD', '$QUEUES', queue.name)
  join(entry.owner)
end
redis.call('HSET', queue.key .. ':entries', job, put.entry)
count(entry, 1)
if put.state == 'same' then
  if not old then
    redis.call('ZADD', held, exact(now), job)
  elseif not was_held then
    add_free(pool, queue, entry)
  end
  return
end
local was_charged = settle(pool, all, queue, job, now)
if put.state == 'free' then
  redis.call('ZREM', held, job)
  add_free(pool, queue, entry)
else
  if put.state == 'claim' then
    if was_charged then
      local unaged = tonumber(redis.call('HGET', pool .. ':state', 'unaged') or '0')
      redis.call('HSET', pool .. ':state', 'unaged', math.min($UNAGED, unaged + 1))
    end
    charge(entry)
    if queue.lane == 'generate' and old and entry.begun and not old.begun then begin() end
  end
  redis.call('ZADD', held, exact(now + put.rest), job)
end
"""

_ASK = """
local ask = cjson.decode(ARGV[1])
ask.now = moment(ask.now)
for _, queue in ipairs(ask.all) do free_again(ask.pool, ask.all, queue, ask.now) end
"""

# The next job, which nobody else is given for `reserved` seconds: {lane, job}, or nothing.
_PICK = """
local choice, state = choose(ask), ask.pool .. ':state'
if not choice then
  for _, queue in ipairs(ask.all) do
    for class = 0, 2 do
      if redis.call('EXISTS', of_class(queue, class, 'owners')) == 1 then return false end
    end
  end
  redis.call('DEL', ask.pool .. ':served')
  redis.call('HDEL', state, 'clock')
  local known = redis.call('HMGET', state, 'begun jobs', 'slots')
  redis.call('HSET', state, 'slots', exact(math.max(tonumber(known[2] or '0'), tonumber(known[1] or '0') + 1)))
  local charges = redis.call('HGETALL', ask.pool .. ':charges')
  for at = 1, #charges, 2 do
    local rest = string.match(charges[at + 1], '^%S+ %S+ (.*)$')
    redis.call('HSET', ask.pool .. ':charges', charges[at], '0 ' .. exact(ask.now) .. ' ' .. rest)
  end
  return false
end
if choice.aged then
  redis.call('HSET', state, 'unaged', 0)
else
  redis.call('HSET', state, 'unaged', math.min($UNAGED, tonumber(redis.call('HGET', state, 'unaged') or '0') + 1))
  if choice.group then
    redis.call('HSET', state, 'clock', exact(math.max(clock_of(ask.pool), served_of(ask.pool, choice.owner))))
  end
end
remove_free(choice.queue, read(choice.queue, choice.job))
redis.call('ZADD', choice.queue.key .. ':held', exact(ask.now + ask.reserved), choice.job)
return {choice.queue.lane, choice.job}
"""

# Keeps a job that was picked from workers for a while.
_PUT_OFF = """
local put = cjson.decode(ARGV[1])
redis.call('ZADD', put.queue.key .. ':held', 'XX', exact(moment(put.now) + put.rest), put.job)
"""

# For each queue with free jobs: lane, the job of its best class that has waited longest.
_FREE_WORK = """
local found = {}
for _, queue in ipairs(ask.queues) do
  for class = 0, 2 do
    local job = redis.call('ZRANGE', of_class(queue, class, 'waiting'), 0, 0)[1]
    if job then
      table.insert(found, queue.lane)
      table.insert(found, job)
      break
    end
  end
end
return found
"""

# The next `limit` jobs, if nothing else happens: lane, job, lane, job...
_PEEK = """
local taken, answer = {}, {}
while #taken < ask.limit do
  local choice = choose(ask)
  if not choice then break end
  local entry = read(choice.queue, choice.job)
  remove_free(choice.queue, entry)
  table.insert(taken, {choice.queue, entry})
  table.insert(answer, choice.queue.lane)
  table.insert(answer, choice.job)
end
for _, one in ipairs(taken) do add_free(ask.pool, one[1], one[2]) end
return answer
"""

# Whether `entry` would be chosen if it were free in the first of the queues.
_IS_NEXT = """
local entry, queue = cjson.decode(ask.entry), ask.queues[1]
entry.job = ask.job
-- Free already if its lease has run out meanwhile.
local free = not redis.call('ZSCORE', queue.key .. ':held', ask.job) and read(queue, ask.job)
if free then remove_free(queue, free) end
add_free(ask.pool, queue, entry)
local choice = choose(ask)
remove_free(queue, entry)
if free then add_free(ask.pool, queue, free) end
return choice.job == ask.job and choice.queue.lane == queue.lane and 1 or 0
"""

_POSITION = """
local known = {}
local function owners_of(queue, class)
  local name = of_class(queue, class, 'owners')
  if not known[name] then
    local found = redis.call('ZRANGE', name, 0, -1, 'WITHSCORES')
    local owners, sum = {}, 0
    for at = 1, #found, 2 do
      local new = redis.call('ZCARD', of_owner(queue, class, found[at], 'new'))
      table.insert(owners, {name = found[at], served = tonumber(found[at + 1]), new = new})
      sum = sum + new
    end
    known[name] = {owners = owners, new = sum}
  end
  return known[name]
end

local function position(place)
  local queue, pool, entry = place.queue, place.pool, place.entry
  local before = 0
  for class = 0, entry.priority - 1 do before = before + owners_of(queue, class).new end
  local own_new = of_owner(queue, entry.priority, entry.owner, 'new')
  local own = redis.call('ZRANK', own_new, place.job)
    or redis.call('ZCOUNT', own_new, '-inf', '(' .. exact(entry.order))
  local served = served_of(pool, entry.owner)
  for _, other in ipairs(owners_of(queue, entry.priority).owners) do
    if other.name ~= entry.owner then
      local first = other.served < served or (other.served == served and other.name < entry.owner)
      before = before + math.min(other.new, own + (first and 1 or 0))
    end
  end
  return before + own + 1
end

local function wait_seconds(place, position)
  local state = redis.call('HMGET', place.pool .. ':state', 'mean generate', 'slots', 'begun jobs', 'begun pieces',
    'new jobs', 'new pieces')
  if not state[1] then return '' end
  for at = 1, 6 do state[at] = math.max(0, tonumber(state[at] or '0')) end
  local mean, slots, begun, begun_pieces, new, new_pieces = unpack(state)
  local ends = math.max(0, position + begun - math.max(slots, 1))
  local pieces = 2 * begun_pieces / (begun + 1) * math.min(ends, begun)
  pieces = pieces + math.max(0, ends - begun) * new_pieces / math.max(1, new)
  local workers = math.max(1, redis.call('HLEN', place.pool .. ':charges'))
  return string.format('%.2g', mean * pieces / workers)
end

local function place_of(text)
  local known, place = pcall(cjson.decode, text or '')
  if not known then return '' end
  local at = position(place)
  return at .. ' ' .. wait_seconds(place, at)
end
"""

_VALUES = {
    "$NEWEST": NEWEST_COUNTS,
    "$LOOKED": LOOKED_AT,
    "$URGENT": URGENT_LAG_SECONDS,
    "$QUANTUM": QUANTUM_SECONDS,
    "$UNAGED": UNAGED_PICKS,
    "$JOB": keys.JOB_KEYS,
    "$QUEUES": keys.QUEUES,
}


def _script(*parts: str) -> str:
    text = "".join(parts)
    for name, value in _VALUES.items():
        text = text.replace(name, str(value))
    return text


PUT = _script(_ENTRIES, _PUT)
PUT_OFF = _script(_ENTRIES, _PUT_OFF)
PICK = _script(_ENTRIES, _CHOOSE, _ASK, _PICK)
FREE_WORK = _script(_ENTRIES, _ASK, _FREE_WORK)
PEEK = _script(_ENTRIES, _CHOOSE, _ASK, _PEEK)
IS_NEXT = _script(_ENTRIES, _CHOOSE, _ASK, _IS_NEXT)
POSITION = _script(_ENTRIES, _POSITION)
"""To be put before a script that calls `place_of`: the place in a text of `schedule.place_text`, or "" without one."""
