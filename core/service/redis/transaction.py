"""The writes of a transaction as one script call: Redis does all of them or, if it does not know the script, none.

Texts of scripts are sent once to a server, not with each transaction. An EVALSHA beside other commands in a MULTI would
be refused alone by a server that has lost its scripts (SCRIPT FLUSH, a failover), and the others would be done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError, WatchError

from core.service.redis import job_scripts, outbox_scripts, schedule_scripts, usage_scripts

APPEND_EVENT, BOUND_WEBHOOKS, PUT_ENTRY, SET_BYTES = "append event", "bound webhooks", "put entry", "set bytes"
"""Scripts that `call` runs."""
_TEXTS = {
    APPEND_EVENT: job_scripts.APPEND_EVENT,
    BOUND_WEBHOOKS: outbox_scripts.BOUND,
    PUT_ENTRY: schedule_scripts.PUT,
    SET_BYTES: usage_scripts.SET_BYTES,
}
_CALL = "CALL"

# ARGV: for each command the number of its words, and the words. Those of a call: CALL, the script's name, the number of
# its keys, its keys, its arguments. The first command that fails ends all: as in any script, Redis refuses the first
# write of one, and so all, when it is full or read-only.
_APPLY = f"""
local scripts = {{}}
{"".join(f"scripts['{name}'] = function(KEYS, ARGV) {text} end{chr(10)}" for name, text in _TEXTS.items())}
local function run_script(first, last)
  local keys, args, num_keys = {{}}, {{}}, tonumber(ARGV[first + 1])
  for at = first + 2, last do table.insert(at <= first + 1 + num_keys and keys or args, ARGV[at]) end
  scripts[ARGV[first]](keys, args)
end
local at = 1
while at <= #ARGV do
  local first, last = at + 1, at + tonumber(ARGV[at])
  if ARGV[first] == '{_CALL}' then run_script(first + 1, last) else redis.call(unpack(ARGV, first, last)) end
  at = last + 1
end
"""


class Transactions:
    """Executes what was queued in pipelines of one client."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._apply = client.register_script(_APPLY)

    def execute(self, pipe: Pipeline) -> None:
        """Do what was queued, in this order. Raises WatchError if nothing was done because a watched key
        has changed, or because Redis had not got the script: it has it then. Start again from the `watch`."""
        words = [word for command in _queued(pipe) for word in (len(command), *command)]
        pipe.command_stack = []
        pipe.evalsha(self._apply.sha, 0, *words)
        try:
            pipe.execute()
        except NoScriptError as error:
            self._client.script_load(_APPLY)
            raise WatchError("Redis did not know the script of transactions") from error

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
