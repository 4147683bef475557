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

from core.service.redis.schedule_parts import CHOOSE, COUNTS, ENTRIES, script

# Puts the entry of a job into a queue, changes it or (entry null) takes it out. `state`: free; claim, rest: cannot be
# claimed for `rest` seconds; same: as it was, and if it was not there, whatever its lease says.
_PUT = """
local put = cjson.decode(ARGV[1])
local pool, all, queue, job, now = put.pool, put.all, put.queue, put.job, moment(put.now)
local held = queue.key .. ':held'
local function begin()
  local state = redis.call('HMGET', pool .. ':state', 'begun jobs', 'new jobs', 'carried')
  local begun, waiting, carried = tonumber(state[1] or '1'), tonumber(state[2] or '0'), tonumber(state[3] or '0')
  if waiting == 0 or carried == 0 then
    carried = math.max(begun, carried + $QUIET * (begun - carried))
  elseif begun < $GONE * carried then
    carried = begun
  else
    carried = carried + $NEWEST * (begun - carried)
  end
  redis.call('HSET', pool .. ':state', 'carried', exact(carried))
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
if not old and put.entry == cjson.null then return end
-- A version that counted otherwise has written these entries.
if redis.call('HEXISTS', pool .. ':state', counted(queue, 'streams')) == 0 then recount(pool, queue) end

local was_held = old and redis.call('ZSCORE', held, job)
if old then
  if not was_held then remove_free(queue, old) end
  count(pool, queue, old, -1)
end
if put.entry == cjson.null then
  settle(pool, all, queue, job, now, put.is_made)
  redis.call('HDEL', queue.key .. ':entries', job)
  -- What a version that counted otherwise has left there.
  if redis.call('EXISTS', queue.key .. ':entries') == 0 then recount(pool, queue) end
  redis.call('ZREM', held, job)
  leave(old.owner)
  return
end
local entry = cjson.decode(put.entry)
entry.job = job
if not old then
  redis.call('SADD', '$QUEUES', queue.name)
  join(entry.owner)
end
redis.call('HSET', queue.key .. ':entries', job, put.entry)
count(pool, queue, entry, 1)
if put.state == 'same' then
  if not old then
    redis.call('ZADD', held, exact(now), job)
  elseif not was_held then
    add_free(pool, queue, entry)
  end
  return
end
local was_charged = settle(pool, all, queue, job, now, put.is_made)
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

# Counts the entries of each queue again where their number is not the one counted: another version has changed them.
_RECOUNT = """
local recounted = 0
for _, one in ipairs(cjson.decode(ARGV[1])) do
  local fields = {counted(one.queue, 'new jobs'), counted(one.queue, 'begun jobs'), counted(one.queue, 'streams')}
  local known = redis.call('HMGET', one.pool .. ':state', unpack(fields))
  local jobs = redis.call('HLEN', one.queue.key .. ':entries')
  if not known[3] or jobs ~= tonumber(known[1] or '0') + tonumber(known[2] or '0') then
    recount(one.pool, one.queue)
    recounted = recounted + 1
  end
end
return recounted
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
  local known = redis.call('HMGET', state, 'begun jobs', 'carried')
  redis.call('HSET', state, 'carried', exact(math.max(tonumber(known[2] or '0'), tonumber(known[1] or '0') + 1)))
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
-- The job is gone, so nobody would take it out of the index again.
if not read(queue, ask.job) then return 0 end
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
local function count_new(queue, class)
  return redis.call('ZCARD', of_class(queue, class, 'waiting')) - redis.call('ZCARD', of_class(queue, class, 'stalls'))
end
-- One more than are counted: the job's own owner may be among them.
local function turns_of(queue, class)
  local name = of_class(queue, class, 'owners')
  if not known[name] then
    local found, turns = redis.call('ZRANGE', name, 0, $COUNTED, 'WITHSCORES'), {}
    for at = 1, #found, 2 do
      local new = redis.call('ZCARD', of_owner(queue, class, found[at], 'new'))
      table.insert(turns, {owner = found[at], served = tonumber(found[at + 1]), new = new})
    end
    known[name] = {turns = turns, owners = redis.call('ZCARD', name), new = count_new(queue, class)}
  end
  return known[name]
end

local function position(place)
  local queue, pool, entry = place.queue, place.pool, place.entry
  local before = 0
  for class = 0, entry.priority - 1 do before = before + count_new(queue, class) end
  local own_new, owners = of_owner(queue, entry.priority, entry.owner, 'new'), of_class(queue, entry.priority, 'owners')
  local own = redis.call('ZRANK', own_new, place.job)
    or redis.call('ZCOUNT', own_new, '-inf', '(' .. exact(entry.order))
  local served, of = served_of(pool, entry.owner), turns_of(queue, entry.priority)
  local rank = redis.call('ZRANK', owners, entry.owner)
  local behind = of.owners - (rank and 1 or 0)
  -- An owner all of whose jobs are held is not listed.
  local first = rank or redis.call('ZCOUNT', owners, '-inf', '(' .. exact(served))
  local left, counted = of.new - redis.call('ZCARD', own_new), 0
  for _, turn in ipairs(of.turns) do
    if turn.owner ~= entry.owner and counted < $COUNTED then
      local is_first = turn.served < served or (turn.served == served and turn.owner < entry.owner)
      before = before + math.min(turn.new, own + (is_first and 1 or 0))
      left, counted = left - turn.new, counted + 1
    end
  end
  behind, first = behind - counted, math.max(0, first - counted)
  if behind > 0 then
    local mean = math.max(0, left) / behind
    before = before + math.floor(first * math.min(mean, own + 1) + (behind - first) * math.min(mean, own))
  end
  return before + own + 1
end

local function wait_seconds(place, position)
  local state = redis.call('HMGET', place.pool .. ':state', 'mean generate', 'carried', 'begun jobs', 'begun pieces',
    'new jobs', 'new pieces')
  if not state[1] then return '' end
  for at = 1, 6 do state[at] = math.max(0, tonumber(state[at] or '0')) end
  local mean, carried, begun, begun_pieces, new, new_pieces = unpack(state)
  local ends = math.max(0, position + begun - math.max(carried, 1))
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

PUT = script(ENTRIES, COUNTS, _PUT)
RECOUNT = script(COUNTS, _RECOUNT)
PUT_OFF = script(ENTRIES, _PUT_OFF)
PICK = script(ENTRIES, CHOOSE, _ASK, _PICK)
FREE_WORK = script(ENTRIES, _ASK, _FREE_WORK)
PEEK = script(ENTRIES, CHOOSE, _ASK, _PEEK)
IS_NEXT = script(ENTRIES, CHOOSE, _ASK, _IS_NEXT)
POSITION = script(ENTRIES, _POSITION)
"""To be put before a script that calls `place_of`: the place in a text of `schedule.place_text`, or "" without one."""
