"""The faults, each a small class: its name, what it does, and how it is undone.

Faults of one group never overlap, those of different groups may. Knows no schedule and judges nothing.
"""

from __future__ import annotations

import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import psutil
from redis.exceptions import RedisError

from core.service.domain.errors import LongtakeError
from tests.chaos.world import LEASE_SECONDS, S3_AS_OVER_A_NETWORK, World
from tests.helpers.deadline import DeadlinePassed, eventually
from tests.helpers.faulty_proxy import (
    LOOPBACK,
    REFUSE,
    SILENT,
    Behaviour,
    FaultyProxy,
    internal_error,
    slow_down,
    writes_refused,
)

Group = Literal["workers", "api", "redis", "s3"]
LONG_RUN_SECONDS = 300.0
VICTIM_SECONDS = 2.0
"""How long a fault looks for an object to damage."""
T = TypeVar("T")
JANITOR_LOCKS = "longtake:janitor*lock*"
STATES, CHUNKS, REFINED, FRAMES = "/state/generate/", "/chunks/", "/refined/", "/frames/"
REFINE_STATES = "/state/refine/"
"""Parts of object keys, by which faults find what to damage."""


class NotApplicable(Exception):
    """There is nothing here that this fault could hit at this moment; it is left out."""


@dataclass(frozen=True)
class Hit:
    """What a fault did. `job_id`: the job that it hit, where it is one. `damaged`: the object that it changed."""

    text: str
    job_id: str | None = None
    damaged: str | None = None


class Fault(ABC):
    """One fault. `seconds` from inject to lift; `pick`, 0 to 1, chooses among possible victims."""

    name: ClassVar[str]
    group: ClassVar[Group]
    shortest_seconds: ClassVar[float] = 0.0
    longest_seconds: ClassVar[float] = 0.0
    only_in_runs_of_seconds: ClassVar[float] = 0.0
    """Left out of shorter runs."""
    costs_every_worker: ClassVar[bool] = True
    """Whether each worker may lose the piece it makes; else one of them."""

    def __init__(self, seconds: float, pick: float) -> None:
        self.seconds = seconds
        self.pick = pick

    @abstractmethod
    def inject(self, world: World) -> Hit:
        """Do it. Raises NotApplicable where there is no victim."""

    def lift(self, world: World) -> None:
        """End it; nothing where the fault was over at once."""
        del world

    def _one_of(self, choices: Sequence[T]) -> T:
        if not choices:
            raise NotApplicable("nothing to hit")
        return choices[min(int(self.pick * len(choices)), len(choices) - 1)]


# --- workers ---------------------------------------------------------------------------------------------------------


class _OfOneWorker(Fault):
    group = "workers"
    costs_every_worker = False
    signal_number: ClassVar[signal.Signals]
    cpu: ClassVar[bool] = False

    def inject(self, world: World) -> Hit:
        victim = self._victim(world)
        job_id = None if self.cpu else world.job_of(victim.pid)
        self._send(victim, self.signal_number)
        return Hit(f"{self.signal_number.name} to {'CPU ' if self.cpu else ''}worker {victim.pid}", job_id)

    def _victim(self, world: World) -> psutil.Process:
        """One that is at work, where there is one."""
        processes = world.worker_processes(world.cpu_names() if self.cpu else world.generation_names())
        busy = {status.pid for status in world.workers() if status.job_id is not None}
        return self._one_of([each for each in processes if each.pid in busy] or processes)

    def _send(self, victim: psutil.Process, number: signal.Signals) -> None:
        try:
            victim.send_signal(number)  # checks that the pid is still this process
        except psutil.NoSuchProcess as gone:
            raise NotApplicable("it has just ended") from gone


class WorkerKilled(_OfOneWorker):
    name = "worker killed"
    signal_number = signal.SIGKILL


class WorkerTerminated(_OfOneWorker):
    name = "worker told to stop"
    signal_number = signal.SIGTERM


class CpuWorkerKilled(_OfOneWorker):
    name = "CPU worker killed"
    signal_number = signal.SIGKILL
    cpu = True


class _Frozen(_OfOneWorker):
    signal_number = signal.SIGSTOP
    frozen: psutil.Process | None = None

    def _send(self, victim: psutil.Process, number: signal.Signals) -> None:
        super()._send(victim, number)
        self.frozen = victim

    def lift(self, world: World) -> None:
        del world
        if self.frozen is not None:
            with suppress(psutil.NoSuchProcess):
                self.frozen.send_signal(signal.SIGCONT)


class WorkerFrozenBriefly(_Frozen):
    name = "worker frozen, less than its lease"
    shortest_seconds, longest_seconds = 0.3, 0.7 * LEASE_SECONDS


class WorkerFrozen(_Frozen):
    name = "worker frozen, longer than its lease"
    shortest_seconds, longest_seconds = 1.3 * LEASE_SECONDS, 4 * LEASE_SECONDS


class CpuWorkerFrozen(_Frozen):
    name = "CPU worker frozen, longer than its lease"
    shortest_seconds, longest_seconds = 1.3 * LEASE_SECONDS, 4 * LEASE_SECONDS
    cpu = True


class SupervisorKilled(Fault):
    """Its worker stops when it notices; both come back when a service manager starts the supervisor again."""

    name = "supervisor killed"
    group = "workers"
    costs_every_worker = False
    shortest_seconds, longest_seconds = 0.2, 5.0
    victim: str | None = None

    def inject(self, world: World) -> Hit:
        name = self._one_of([*world.generation_names(), *world.cpu_names()])
        workers = world.worker_processes([name])
        job_id = world.job_of(workers[0].pid) if workers else None
        self.victim = name
        return Hit(f"supervisor {world.kill(name)} of {name} killed", job_id)

    def lift(self, world: World) -> None:
        if self.victim is not None:
            world.start(self.victim)


class ApiKilled(Fault):
    name = "API killed"
    group = "api"
    costs_every_worker = False
    shortest_seconds, longest_seconds = 0.2, 4.0

    def inject(self, world: World) -> Hit:
        return Hit(f"API {world.kill('api')} killed")

    def lift(self, world: World) -> None:
        world.start("api")


# --- Redis -----------------------------------------------------------------------------------------------------------


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


# --- S3 --------------------------------------------------------------------------------------------------------------


class S3Killed(Fault):
    name = "S3 killed"
    group = "s3"
    shortest_seconds, longest_seconds = 0.2, 12.0

    def inject(self, world: World) -> Hit:
        pid = world.s3_server.pid
        world.s3.behave(REFUSE)
        os.kill(pid, signal.SIGKILL)
        world.s3_server.stop()
        return Hit(f"S3 {pid} killed")

    def lift(self, world: World) -> None:
        world.s3_server.start()
        world.s3.behave(S3_AS_OVER_A_NETWORK)


class S3KilledForLong(S3Killed):
    name = "S3 killed, away for long"
    shortest_seconds, longest_seconds = 20.0, 75.0
    only_in_runs_of_seconds = LONG_RUN_SECONDS


class S3Frozen(Fault):
    name = "S3 frozen"
    group = "s3"
    shortest_seconds, longest_seconds = 0.5, 12.0

    def inject(self, world: World) -> Hit:
        os.kill(world.s3_server.pid, signal.SIGSTOP)
        return Hit(f"S3 {world.s3_server.pid} frozen")

    def lift(self, world: World) -> None:
        os.kill(world.s3_server.pid, signal.SIGCONT)


class S3Reset(Fault):
    name = "S3 connections reset"
    group = "s3"

    def inject(self, world: World) -> Hit:
        return Hit(f"{world.s3.reset_connections()} connections reset")


class _S3Proxy(Fault):
    group = "s3"
    behaviour: ClassVar[Behaviour]
    shortest_seconds, longest_seconds = 1.0, 8.0

    def inject(self, world: World) -> Hit:
        world.s3.behave(self.behaviour)
        return Hit(f"{self.behaviour}")

    def lift(self, world: World) -> None:
        world.s3.behave(S3_AS_OVER_A_NETWORK)


class S3Silent(_S3Proxy):
    name = "S3 unreachable, no answer"
    shortest_seconds, longest_seconds = 0.5, 12.0
    behaviour = SILENT


class S3HalfAnswers(_S3Proxy):
    name = "S3 answers cut"
    behaviour = Behaviour(cut_share=0.3)


class S3SlowDown(_S3Proxy):
    name = "S3 says SlowDown"
    behaviour = Behaviour(canned=slow_down(share=0.7))


class S3Errors(_S3Proxy):
    name = "S3 says InternalError"
    behaviour = Behaviour(canned=internal_error(share=0.7))


class S3ReadOnly(_S3Proxy):
    name = "S3 read-only"
    behaviour = Behaviour(canned=writes_refused())


class S3Slow(_S3Proxy):
    name = "S3 slow"
    behaviour = Behaviour(delay_seconds=0.3)


class WorkerKilledWhileStoring(_S3Proxy):
    """S3 is silent for longer than a chunk takes, and a worker is killed then: it cannot store the one that it has
    made, and the next is made in its engine."""

    name = "worker killed while it stores"
    costs_every_worker = False
    shortest_seconds, longest_seconds = 1.0, 2.0
    behaviour = SILENT

    def lift(self, world: World) -> None:
        with suppress(NotApplicable):
            WorkerKilled(0.0, self.pick).inject(world)
        super().lift(world)


class JanitorKilledDuringPass(Fault):
    """Slows S3 down until a janitor is seen to hold its lock, and kills all CPU workers then; else one of them."""

    name = "janitor killed in its pass"
    group = "s3"
    costs_every_worker = False

    def inject(self, world: World) -> Hit:
        world.s3.behave(Behaviour(delay_seconds=0.5))
        try:
            inside = _seen(lambda: _janitor_lock_is_held(world))
            victim = self._one_of(world.worker_processes(world.cpu_names()))
            for process in world.worker_processes(world.cpu_names()) if inside else [victim]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        finally:
            world.s3.behave(S3_AS_OVER_A_NETWORK)
        return Hit("all CPU workers killed while one held the lock" if inside else f"CPU worker {victim.pid} killed")


def _janitor_lock_is_held(world: World) -> bool:
    try:
        with world.admin(0) as client:
            return next(client.scan_iter(JANITOR_LOCKS, count=1000), None) is not None
    except RedisError:
        return False


def _seen(look: Callable[[], bool]) -> bool:
    try:
        return eventually(look, "it", seconds=3, pause_seconds=0.005)
    except DeadlinePassed:
        return False


# --- objects ---------------------------------------------------------------------------------------------------------


class _ObjectFault(Fault):
    """Changes the newest object of one kind of a job that is being made, behind the service's back."""

    group = "s3"
    kind: ClassVar[str]
    costs_every_worker = False
    forget: ClassVar[bool] = True
    """Also kill the worker that has it in its memory, so that another one must read it."""

    def inject(self, world: World) -> Hit:
        try:
            keys = eventually(lambda: self._newest_keys(world) or None, "an object", seconds=VICTIM_SECONDS)
            key = self._one_of(keys)
            self._change(world, key)
        except DeadlinePassed as nothing:
            raise NotApplicable("no job that is being made has such an object") from nothing
        except LongtakeError as error:
            raise NotApplicable(f"the object could not be reached: {error.message}") from error
        job_id = key.split("/")[1]
        killed = _kill_workers_of(world, job_id) if self.forget else []
        return Hit(f"{key}; workers killed: {killed}", job_id, key)

    def _newest_keys(self, world: World) -> list[str]:
        storage = world.storage()
        of_jobs = [[*filter(self._is_ours, storage.list(f"jobs/{job}/"))] for job in world.running_jobs()]
        return [max(keys) for keys in of_jobs if keys]

    def _is_ours(self, key: str) -> bool:
        """A killed rclone leaves parts of files, which it lists as objects."""
        return self.kind in key and not key.endswith(".partial")

    @abstractmethod
    def _change(self, world: World, key: str) -> None: ...


def _kill_workers_of(world: World, job_id: str) -> list[int]:
    processes = {process.pid: process for process in world.worker_processes(world.generation_names())}
    pids = [status.pid for status in world.workers() if status.job_id == job_id and status.pid in processes]
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            processes[pid].kill()
    return pids


class _Damaged(_ObjectFault):
    """Some bytes in the middle are others."""

    def _change(self, world: World, key: str) -> None:
        storage = world.storage()
        data = bytearray(storage.get(key))
        for index in range(len(data) // 2, min(len(data) // 2 + 64, len(data))):
            data[index] ^= 0xFF
        storage.put(key, bytes(data), "application/octet-stream")


class _CutShort(_ObjectFault):
    def _change(self, world: World, key: str) -> None:
        data = world.storage().get(key)
        world.storage().put(key, data[: len(data) // 3], "application/octet-stream")


class _Removed(_ObjectFault):
    def _change(self, world: World, key: str) -> None:
        world.storage().delete_prefix(key)


class StateDamaged(_Damaged):
    name = "state damaged"
    kind = STATES


class StateCutShort(_CutShort):
    name = "state cut short"
    kind = STATES


class StateRemoved(_Removed):
    name = "state removed"
    kind = STATES


class StateReplaced(_ObjectFault):
    """The state before it in its place: a good object, and the wrong one."""

    name = "state replaced"
    kind = STATES

    def _change(self, world: World, key: str) -> None:
        storage = world.storage()
        older = sorted(storage.list(key.rsplit("/", 1)[0]))[:-1]
        storage.put(key, storage.get(self._one_of(older)), "application/octet-stream")


class ChunkDamaged(_Damaged):
    name = "chunk damaged"
    kind = CHUNKS
    forget = False


class ChunkCutShort(_CutShort):
    name = "chunk cut short"
    kind = CHUNKS
    forget = False


class ChunkRemoved(_Removed):
    name = "chunk removed"
    kind = CHUNKS
    forget = False


class RefinedDamaged(_Damaged):
    name = "refined chunk damaged"
    kind = REFINED
    forget = False


class ExactFramesDamaged(_Damaged):
    name = "exact frames damaged"
    kind = FRAMES


class RefineStateDamaged(_Damaged):
    name = "refinement state damaged"
    kind = REFINE_STATES


ALL_FAULTS: tuple[type[Fault], ...] = (
    WorkerKilled,
    WorkerTerminated,
    WorkerFrozenBriefly,
    WorkerFrozen,
    CpuWorkerKilled,
    CpuWorkerFrozen,
    SupervisorKilled,
    WorkerKilledWhileStoring,
    JanitorKilledDuringPass,
    ApiKilled,
    RedisKilled,
    RedisKilledForLong,
    RedisFrozen,
    RedisSilent,
    RedisSilentForLong,
    RecordsSilent,
    BrokerSilent,
    RedisSlow,
    RedisHalfAnswers,
    RedisReset,
    RedisFull,
    RedisReadOnly,
    RedisWithoutReplicas,
    RedisBusy,
    RedisWiped,
    BrokerWiped,
    S3Killed,
    S3KilledForLong,
    S3Frozen,
    S3Silent,
    S3Reset,
    S3HalfAnswers,
    S3SlowDown,
    S3Errors,
    S3ReadOnly,
    S3Slow,
    StateDamaged,
    StateCutShort,
    StateRemoved,
    StateReplaced,
    ChunkDamaged,
    ChunkCutShort,
    ChunkRemoved,
    RefinedDamaged,
    ExactFramesDamaged,
    RefineStateDamaged,
)
assert len({fault.name for fault in ALL_FAULTS}) == len(ALL_FAULTS)
