"""What calls of the store cost: time, CPU time of this process and of Redis, commands; and what memory jobs need."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import redis

from core.service.redis.keys import JOB_KEYS, chunks_key, events_key, job_id_of, job_key

T = TypeVar("T")
_OF_ONE_OWNER_OR_JOB = re.compile(r"key_\d+|\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class RedisUse:
    """What a Redis has used since it started: CPU seconds of the thread that runs commands, commands, bytes that it was
    sent, and microseconds by command (those inside a transaction or a script count again in `exec` and `evalsha`)."""

    cpu_seconds: float
    commands: int
    bytes_sent: int
    microseconds: Counter[str]

    def since(self, before: RedisUse) -> RedisUse:
        return RedisUse(
            self.cpu_seconds - before.cpu_seconds,
            self.commands - before.commands,
            self.bytes_sent - before.bytes_sent,
            self.microseconds - before.microseconds,
        )


def redis_use(client: redis.Redis) -> RedisUse:
    cpu, stats = client.info("cpu"), client.info("stats")
    thread = "_main_thread" if "used_cpu_user_main_thread" in cpu else ""
    by_command = cast("dict[str, dict[str, Any]]", client.info("commandstats"))
    return RedisUse(
        float(cpu[f"used_cpu_user{thread}"]) + float(cpu[f"used_cpu_sys{thread}"]),
        int(stats["total_commands_processed"]),
        int(stats["total_net_input_bytes"]),
        Counter({name.removeprefix("cmdstat_"): int(row["usec"]) for name, row in by_command.items()}),
    )


@dataclass(frozen=True)
class Costs:
    """Of equal calls, one after the other: milliseconds of each, and both CPUs, commands and bytes sent of the average
    one. `dearest`: the commands on which Redis spent most, with microseconds per call."""

    milliseconds: list[float]
    client_cpu_ms: float
    redis_cpu_ms: float
    commands: float
    bytes_sent: int
    dearest: list[tuple[str, float]]

    @property
    def note(self) -> str:
        dearest = ", ".join(f"{name} {microseconds:g}" for name, microseconds in self.dearest)
        return f"{self.commands:g} commands, {self.bytes_sent} bytes sent; us by command: {dearest}"


def costs_of(client: redis.Redis, calls: Iterable[Callable[[], T]]) -> tuple[Costs, list[T]]:
    """Costs of these calls, which all use `client`, and what they returned."""
    results, milliseconds = list[T](), list[float]()
    before, cpu_before = redis_use(client), time.process_time()
    for call in calls:
        started = time.perf_counter()
        results.append(call())
        milliseconds.append(round(1000 * (time.perf_counter() - started), 3))
    cpu = time.process_time() - cpu_before
    used, count = redis_use(client).since(before), len(results)
    dearest = [(name, round(value / count, 1)) for name, value in used.microseconds.most_common(6)]
    client_ms, redis_ms = (round(1000 * seconds / count, 3) for seconds in (cpu, used.cpu_seconds))
    commands, sent = round(used.commands / count, 1), round(used.bytes_sent / count)
    return Costs(milliseconds, client_ms, redis_ms, commands, sent, dearest), results


def used_memory(client: redis.Redis) -> int:
    """Bytes."""
    return int(client.info("memory")["used_memory"])


def bytes_by_kind(client: redis.Redis) -> Counter[str]:
    """MEMORY USAGE of all keys, by kind of key."""
    names, total = list(client.scan_iter("*", count=1000)), Counter[str]()
    for start in range(0, len(names), 1000):
        some = cast("list[str]", names[start : start + 1000])
        for name, size in zip(some, _sizes(client, some), strict=True):
            total[kind_of(name)] += size
    return total


def bytes_of_job(client: redis.Redis, job_id: str) -> int:
    """MEMORY USAGE of a job's own record, event log and chunks."""
    return sum(_sizes(client, [job_key(job_id), events_key(job_id), chunks_key(job_id, "preview")]))


def _sizes(client: redis.Redis, names: Sequence[str]) -> list[int]:
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.memory_usage(name)
        return [size or 0 for size in cast("list[int | None]", pipe.execute())]


def kind_of(key: str) -> str:
    """A key's name without what tells it from others of its kind."""
    if key.startswith(JOB_KEYS):
        return key.replace(job_id_of(key), "ID", 1)
    return _OF_ONE_OWNER_OR_JOB.sub("ID", key)
