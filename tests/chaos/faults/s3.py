"""S3 is killed, stands still or refuses, the network to it is broken, or a process is killed while it waits for S3."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

import psutil
from redis.exceptions import RedisError

from tests.chaos.faults.fault import LONG_RUN_SECONDS, Fault, Hit, NotApplicable
from tests.chaos.faults.processes import WorkerKilled
from tests.chaos.world import S3_AS_OVER_A_NETWORK, World
from tests.helpers.deadline import DeadlinePassed, eventually
from tests.helpers.faulty_proxy import REFUSE, SILENT, Behaviour, internal_error, slow_down, writes_refused

JANITOR_LOCKS = "longtake:janitor*lock*"


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
            victim = self.one_of(world.worker_processes(world.cpu_names()))
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
