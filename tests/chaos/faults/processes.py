"""Workers, supervisors and the API are killed, told to stop, or stand still."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import ClassVar

import psutil

from tests.chaos.faults.fault import Fault, Hit, NotApplicable
from tests.chaos.world import LEASE_SECONDS, World


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
        return self.one_of([each for each in processes if each.pid in busy] or processes)

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
        name = self.one_of([*world.generation_names(), *world.cpu_names()])
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
