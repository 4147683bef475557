"""A worker: the real parts of the worker's code around fake engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from core.service.domain.ports import measuring_name
from core.service.domain.schema import JobSpec, Lane
from core.service.testing.registries import FakeWorkerRegistry
from tests.helpers.background import AtOnce, Late
from tests.helpers.fake_world import KEEP_SECONDS
from tests.helpers.job_life.engines import FaultyEngine, FaultyMeasure, FaultyRefineEngine
from tests.helpers.job_life.jobs import MODEL
from tests.helpers.job_life.processes import EngineFault, Process, Stop
from tests.helpers.job_life.servers import Servers
from worker.lanes.finalize import Finalizer
from worker.lanes.generate import ChunkMaker
from worker.lanes.lane import Outcome
from worker.lanes.measure import Measurer
from worker.lanes.prepare import MediaPreparer
from worker.lanes.refine import ChunkRefiner
from worker.maintenance.dead_workers import release_lease_of
from worker.media.decode import decode_media
from worker.media.input_media import InputMediaReader

CHUNK_LANES = (Lane.GENERATE, Lane.REFINE)


class Worker:
    """A slot for worker processes, one after the other: it makes chunks, refines, finalises and measures."""

    def __init__(self, servers: Servers, slot: str) -> None:
        self._servers = servers
        self._slot = slot
        self._generation = 0
        self.engine_fails = False
        self.measuring_fails = False
        self._begin()

    def _begin(self) -> None:
        """A fresh process, which remembers nothing."""
        self._generation += 1
        self.process = Process(f"{self._slot}-{self._generation}")
        self.services = self._servers.services(self.process)
        self._preparer = MediaPreparer(self.services, InputMediaReader(self.services, decode=decode_media))
        ahead = AtOnce if self._generation % 2 else Late
        self._maker = ChunkMaker(
            self.services,
            FaultyEngine(self.fail_if_due),
            MODEL,
            keep_seconds=KEEP_SECONDS,
            lanes=CHUNK_LANES,
            in_background=ahead,
        )
        self._refiner = ChunkRefiner(self.services, lambda: FaultyRefineEngine(self.fail_if_due), MODEL)

    def work(self, lane: Lane, stop: Stop | None = None) -> object:
        """One piece on a lane."""
        works: dict[Lane, Callable[[], Outcome]] = {
            Lane.PREPARE: self._preparer.work,
            Lane.GENERATE: self._maker.work,
            Lane.REFINE: self._refiner.work,
            Lane.FINALIZE: lambda: Finalizer(self.services).work(),
            Lane.MEASURE: self._measurer().work,
        }
        return self.process.run(works[lane], stop)

    def _measurer(self) -> Measurer:
        named = replace(self.services, worker=measuring_name(self.process.name))
        return Measurer(named, FaultyMeasure(self.fail_measuring_if_due))

    def die(self, *, given_back: bool) -> None:
        """`given_back`: its supervisor is alive and sees to the lease. Another process takes its place."""
        name = self.process.name
        self.process.die()
        if given_back:
            servers = self._servers
            for each in (name, measuring_name(name)):
                release_lease_of(servers.store_port, FakeWorkerRegistry(servers.clock), servers.queue, each)
        self._begin()

    def stop(self) -> None:
        """SIGTERM: it gives back what it has in hand. Where it cannot, it stands still until it is killed."""
        self.process.drain.set()
        if self.process.parked:
            self.process.go_on()
        self.process.die()
        self._begin()

    def fail_if_due(self, spec: JobSpec) -> None:
        if self.engine_fails:
            self.engine_fails = False
            self._servers.engine_failures.append(spec.metadata["job"])
            raise EngineFault("the engine has failed")

    def fail_measuring_if_due(self) -> None:
        if self.measuring_fails:
            self.measuring_fails = False
            self._servers.measuring_failures += 1
            raise EngineFault("measuring has failed")
