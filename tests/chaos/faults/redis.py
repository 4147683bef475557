"""Redis is killed, stands still, refuses or forgets, or the network to it is broken."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from redis.exceptions import RedisError

from tests.chaos.faults.fault import LONG_RUN_SECONDS, Fault, Hit
from tests.chaos.world import World
from tests.helpers.deadline import eventually
from tests.helpers.faulty_proxy import LOOPBACK, REFUSE, SILENT, Behaviour, FaultyProxy


class RedisKilled(Fault):
    """As by the kernel for want of memory; started again on its append-only file."""

    name = "Redis killed"
    group = "redis"
    shortest_seconds, longest_seconds = 0.2, 12.0

    def inject(self, world: World) -> Hit:
        pid = world.redis_server.pid
        for proxy in (world.records, world.broker):
            proxy.behave(REFUSE)
        os.kill(pid, signal.SIGKILL)
        world.redis_server.stop()
        return Hit(f"Redis {pid} killed")

    def lift(self, world: World) -> None:
        world.redis_server.start()
        world.calm_redis()


class RedisKilledForLong(RedisKilled):
    name = "Redis killed, away for long"
    shortest_seconds, longest_seconds = 15.0, 45.0
    only_in_runs_of_seconds = LONG_RUN_SECONDS


class RedisFrozen(Fault):
    name = "Redis frozen"
    group = "redis"
    shortest_seconds, longest_seconds = 0.5, 10.0

    def inject(self, world: World) -> Hit:
        os.kill(world.redis_server.pid, signal.SIGSTOP)
        return Hit(f"Redis {world.redis_server.pid} frozen")

    def lift(self, world: World) -> None:
        os.kill(world.redis_server.pid, signal.SIGCONT)


class _RedisProxies(Fault):
    """A fault of the network between processes and Redis."""

    group = "redis"
    behaviour: ClassVar[Behaviour]

    def inject(self, world: World) -> Hit:
        for proxy in self._proxies(world):
            proxy.behave(self.behaviour)
        return Hit(f"{self.behaviour}")

    def _proxies(self, world: World) -> Sequence[FaultyProxy]:
        return (world.records, world.broker)

    def lift(self, world: World) -> None:
        world.calm_redis()


class RedisSilent(_RedisProxies):
    name = "Redis unreachable, no answer"
    shortest_seconds, longest_seconds = 0.5, 12.0
    behaviour = SILENT


class RedisSilentForLong(_RedisProxies):
    name = "Redis unreachable for long"
    shortest_seconds, longest_seconds = 15.0, 45.0
    only_in_runs_of_seconds = LONG_RUN_SECONDS
    behaviour = SILENT


class RecordsSilent(_RedisProxies):
    name = "records unreachable, broker answers"
    shortest_seconds, longest_seconds = 0.5, 8.0
    behaviour = SILENT

    def _proxies(self, world: World) -> Sequence[FaultyProxy]:
        return (world.records,)


class BrokerSilent(_RedisProxies):
    name = "broker unreachable, records answer"
    shortest_seconds, longest_seconds = 0.5, 12.0
    behaviour = SILENT

    def _proxies(self, world: World) -> Sequence[FaultyProxy]:
        return (world.broker,)


class RedisSlow(_RedisProxies):
    name = "Redis slow"
    shortest_seconds, longest_seconds = 2.0, 8.0
    behaviour = Behaviour(delay_seconds=0.08)


class RedisHalfAnswers(_RedisProxies):
    name = "Redis answers cut"
    shortest_seconds, longest_seconds = 1.0, 4.0
    behaviour = Behaviour(cut_share=0.1)


class RedisReset(Fault):
    name = "Redis connections reset"
    group = "redis"

    def inject(self, world: World) -> Hit:
        hit = sum(proxy.reset_connections() for proxy in (world.records, world.broker))
        return Hit(f"{hit} connections reset")


class _RedisConfigured(Fault):
    """Redis made to refuse writes by its own settings."""

    group = "redis"
    shortest_seconds, longest_seconds = 1.0, 8.0
    wrong: ClassVar[tuple[str, ...]]
    right: ClassVar[tuple[str, ...]]

    def inject(self, world: World) -> Hit:
        with world.admin(0) as client:
            client.execute_command(*self.wrong)
        return Hit(" ".join(self.wrong))

    def lift(self, world: World) -> None:
        eventually(lambda: _answered(world, self.right), "Redis to take its settings back", seconds=30)


def _answered(world: World, command: Sequence[str]) -> bool:
    try:
        with world.admin(0) as client:
            client.execute_command(*command)
    except RedisError:
        return False
    return True


class RedisFull(_RedisConfigured):
    name = "Redis full"
    wrong = ("CONFIG SET", "maxmemory", "1")
    right = ("CONFIG SET", "maxmemory", "0")


class RedisReadOnly(_RedisConfigured):
    """Failed over: this server has become the replica of one that cannot be reached."""

    name = "Redis read-only replica"
    wrong = ("REPLICAOF", "127.0.0.1", "1")
    right = ("REPLICAOF", "NO", "ONE")


class RedisWithoutReplicas(_RedisConfigured):
    name = "Redis without its replicas"
    wrong = ("CONFIG SET", "min-replicas-to-write", "1")
    right = ("CONFIG SET", "min-replicas-to-write", "0")


class RedisBusy(Fault):
    """A script that does not end: every command is answered BUSY."""

    name = "Redis busy with a script"
    group = "redis"
    shortest_seconds, longest_seconds = 0.5, 6.0
    script_limit_milliseconds: ClassVar[int] = 100
    connection: socket.socket | None = None

    def inject(self, world: World) -> Hit:
        with world.admin(0) as client:
            for name in ("lua-time-limit", "busy-reply-threshold"):  # the second is its name since Redis 7
                with suppress(RedisError):
                    client.config_set(name, self.script_limit_milliseconds)
        self.connection = socket.create_connection((LOOPBACK, world.redis_server.port))
        self.connection.sendall(b'EVAL "while true do end" 0\r\n')
        return Hit("a script without an end")

    def lift(self, world: World) -> None:
        eventually(lambda: _answered(world, ("SCRIPT KILL",)), "the script to end", seconds=30)
        if self.connection is not None:
            self.connection.close()


class RedisWiped(Fault):
    """Also ends the life of whatever is only in Redis."""

    name = "Redis wiped"
    group = "redis"

    def inject(self, world: World) -> Hit:
        with world.admin(0) as client:
            client.flushall()
        return Hit("FLUSHALL")


class BrokerWiped(Fault):
    name = "broker wiped"
    group = "redis"
    costs_every_worker = False

    def inject(self, world: World) -> Hit:
        with world.admin(1) as client:
            client.flushdb()
        return Hit("FLUSHDB of the broker")
