"""The writes of a transaction as one script call, so that nothing comes between them.

What Redis refuses up front is not begun: it is full, read-only, has too few replicas or cannot save, or does not know
the script. A single step that fails later, on a key of another type say, leaves the others done, as in a MULTI, and the
error names it: all else about the job agrees with its record then.

Texts of scripts are sent once to a server, not with each transaction. An EVALSHA beside writes in a MULTI would be
refused alone by a server that has lost its scripts (SCRIPT FLUSH, a failover), and the others would be done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError, RedisError, WatchError

from core.service.redis import job_scripts, made_scripts, outbox_scripts, schedule_scripts, usage_scripts

APPEND_EVENT, BOUND_WEBHOOKS, COUNT_MADE = "append event", "bound webhooks", "count made"
PUT_ENTRY, SET_BYTES = "put entry", "set bytes"
"""Scripts that `call` runs."""
_TEXTS = {
    APPEND_EVENT: job_scripts.APPEND_EVENT,
    BOUND_WEBHOOKS: outbox_scripts.BOUND,
    COUNT_MADE: made_scripts.COUNT,
    PUT_ENTRY: schedule_scripts.PUT,
    SET_BYTES: usage_scripts.SET_BYTES,
}
_CALL = "CALL"

_NOTHING = "longtake:nothing"
"""A key that never exists."""

# ARGV: for each command the number of its words, and the words. Those of a call: CALL, the script's name, the number of
# its keys, its keys, its arguments. When Redis is full or read-only, it refuses a script's first write and may allow
# those that follow: if the first step fails, the others are left out.
_APPLY = f"""
local server = redis
local redis = {{pcall = server.pcall}}
function redis.call(...)
  local answer = server.pcall(...)
  if type(answer) == 'table' and answer.err then
    local command, key = ...
    error({{err = answer.err .. ' (' .. command .. ' ' .. string.sub(tostring(key), 1, 200) .. ')'}})
  end
  return answer
end
local scripts = {{}}
{"".join(f"scripts['{name}'] = function(KEYS, ARGV) {text} end{chr(10)}" for name, text in _TEXTS.items())}
local function run_script(first, last)
  local keys, args, num_keys = {{}}, {{}}, tonumber(ARGV[first + 1])
  for at = first + 2, last do table.insert(at <= first + 1 + num_keys and keys or args, ARGV[at]) end
  scripts[ARGV[first]](keys, args)
end
local function run(first, last)
  if ARGV[first] == '{_CALL}' then run_script(first + 1, last) else redis.call(unpack(ARGV, first, last)) end
end
local at, steps, failed, reason = 1, 0, {{}}, nil
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  steps = steps + 1
  if failed[1] ~= 1 then
    local done, why = pcall(run, at + 1, last)
    if not done then
      table.insert(failed, steps)
      reason = reason or type(why) == 'table' and why.err or 'ERR ' .. tostring(why)
    end
  end
  at = last + 1
end
if reason then
  local step, others = table.concat(failed, ' and '), failed[1] == 1 and 'left out' or 'done'
  return {{err = reason .. ', step ' .. step .. ' of ' .. steps .. '; the others are ' .. others}}
end
"""


class Transactions:
    """Executes what was queued in pipelines of one client."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._sha = client.register_script(_APPLY).sha
        self._is_unknown = False

    def execute(self, pipe: Pipeline) -> None:
        """Do what was queued, in this order. Raises WatchError if nothing was done because a watched key has changed,
        or because Redis had not got the script: the next time it is sent. Start again from the `watch`. Raises
        ResponseError if a step fails."""
        words = [word for command in _queued(pipe) for word in (len(command), *command)]
        pipe.command_stack = []
        # A plain write, which a replica refuses alone, so that the connection notices it (client.py), and Redis 6.2 if
        # it has too few replicas: within the EXEC it would let the script write.
        pipe.delete(_NOTHING)
        if self._is_unknown:
            pipe.eval(_APPLY, 0, *words)
        else:
            pipe.evalsha(self._sha, 0, *words)
        # Without redis-py's own words, which are the script call and its first arguments.
        answer = pipe.execute(raise_on_error=False)[-1]
        self._is_unknown = isinstance(answer, NoScriptError)
        if isinstance(answer, NoScriptError):
            raise WatchError("Redis did not know the script of transactions") from answer
        if isinstance(answer, RedisError):
            raise answer

    def write(self, queue: Callable[[Pipeline], None]) -> None:
        """Do what `queue` queues, without a condition."""
        with self._client.pipeline() as pipe:
            while True:
                try:
                    queue(pipe)
                    self.execute(pipe)
                    return
                except WatchError:
                    continue


def call(pipe: Pipeline, script: str, keys: Sequence[str], *args: str | float) -> None:
    """Queue a call of one of the scripts above, for `Transactions.execute`."""
    pipe.execute_command(_CALL, script, len(keys), *keys, *args)


def _queued(pipe: Pipeline) -> list[tuple[Any, ...]]:
    return [command for command, _options in pipe.command_stack]
