"""Objects of jobs that are being made are damaged, cut short, removed or replaced."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import ClassVar

import psutil

from core.service.domain.errors import LongtakeError
from tests.chaos.faults.fault import Fault, Hit, NotApplicable
from tests.chaos.world import World
from tests.helpers.deadline import DeadlinePassed, eventually

VICTIM_SECONDS = 2.0
"""How long a fault looks for an object to damage."""
STATES, CHUNKS, REFINED, FRAMES = "/state/generate/", "/chunks/", "/refined/", "/frames/"
REFINE_STATES = "/state/refine/"
"""Parts of object keys, by which faults find what to damage."""


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
            key = self.one_of(keys)
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
        storage.put(key, storage.get(self.one_of(older)), "application/octet-stream")


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
