"""A service made of fakes around the worker's functions, and a worker that takes its messages. No servers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from core.service.domain.engine import NO_INPUT_MEDIA, Engine, EngineChunk, EngineState, FramesTHWC, InputMedia, OnStep
from core.service.domain.ids import new_upload_id
from core.service.domain.refiner import RefinedWindow, RefineEngine, RefineState
from core.service.domain.schema import ChunkLists, ChunkRecord, JobRecord, JobSpec, JobStatus
from core.service.domain.uploads import upload_key
from core.service.media.allowed_addresses import MediaAddresses
from core.service.records.chunk_reads import all_chunks
from core.service.records.manifest_writer import create_job
from core.service.redis import queue
from core.service.settings import Settings
from core.service.testing.clock import FakeClock
from core.service.testing.engines import FakeEngine, FakeRefineEngine
from core.service.testing.job_store import FakeJobStore
from core.service.testing.pauses import FakePauses
from core.service.testing.queue import FakeTaskQueue
from core.service.testing.registries import FakeUploadStore
from core.service.testing.speed import FakeSpeeds
from core.service.testing.storage import FakeStorage
from tests.helpers.jobs import job_spec
from worker.lanes.ahead import InBackground
from worker.lanes.completion import wake
from worker.lanes.finalize import Finalizer
from worker.lanes.generate import ChunkMaker
from worker.lanes.prepare import MediaPreparer
from worker.lanes.refine import ChunkRefiner
from worker.media.decode import decode_media
from worker.media.input_media import InputMediaReader
from worker.runtime.services import Services

JOB = "job_a"
MODEL = job_spec().model
KEEP_SECONDS = 3600.0
"""Longer than any test: a worker never gives a job up because of the time."""


@cache
def usual_settings() -> Settings:
    """Made once: reading the environment takes as long as a small job."""
    return Settings(lease_ttl_seconds=30, max_attempts=3)


@dataclass
class World:
    """Fakes of every port, shared by all workers made from it."""

    clock: FakeClock = field(default_factory=FakeClock)
    storage: FakeStorage = field(default_factory=FakeStorage)
    queue: FakeTaskQueue = field(default_factory=FakeTaskQueue)
    settings: Settings = field(default_factory=usual_settings)

    def __post_init__(self) -> None:
        self.store = FakeJobStore(self.clock)
        self.uploads = FakeUploadStore(self.clock)
        self.speeds = FakeSpeeds()
        self.pauses = FakePauses()

    def services(self, worker: str = "worker-1") -> Services:
        return Services(
            self.store,
            self.storage,
            self.uploads,
            self.queue,
            self.clock,
            self.settings,
            worker,
            self.speeds,
            self.pauses,
        )

    def maker(
        self, engine: Engine | None = None, services: Services | None = None, ahead: InBackground | None = None
    ) -> ChunkMaker:
        """One that makes one chunk per task, or goes on with a job, with `ahead` for its commits."""
        services, engine = services or self.services(), engine or FakeEngine()
        if ahead is None:
            return ChunkMaker(services, engine, MODEL)
        return ChunkMaker(services, engine, MODEL, keep_seconds=KEEP_SECONDS, in_background=ahead)

    def preparer(self, services: Services | None = None, allowed: MediaAddresses | None = None) -> MediaPreparer:
        """One that decodes in this process."""
        services = services or self.services("cpu-1")
        return MediaPreparer(services, InputMediaReader(services, allowed, decode_media))

    def refiner(self, engine: RefineEngine | None = None, services: Services | None = None) -> ChunkRefiner:
        refiner = engine or FakeRefineEngine()
        return ChunkRefiner(services or self.services(), lambda: refiner, MODEL)

    def submit(self, job_id: str = JOB, **changes: object) -> JobRecord:
        """A queued job with its message, as the API leaves it."""
        spec = job_spec(**{"num_frames": 40, **changes})
        record = JobRecord(id=job_id, status=JobStatus.QUEUED, spec=spec, created_at=self.clock.now())
        created = create_job(self.store, self.storage, record)
        wake(self.services(), created)
        return created

    def work(self, maker: ChunkMaker, services: Services | None = None, refiner: ChunkRefiner | None = None) -> None:
        """Take messages until none is left."""
        refiner = refiner or self.refiner()
        while (message := self.queue.take()) is not None:
            if message.task == queue.TASK_PREPARE_MEDIA:
                self.preparer(services).work()
            elif message.task == queue.TASK_GENERATE_CHUNK:
                maker.work()
            elif message.task in {queue.TASK_REFINE_WINDOW, queue.TASK_REFINE_STEP}:
                refiner.work()
            elif message.task == queue.TASK_FINALIZE_JOB:
                Finalizer(services or self.services("cpu-1")).work()

    def upload(self, data: bytes) -> str:
        """The id of an upload whose record is lost: nobody removes it."""
        upload_id = new_upload_id()
        self.storage.put(upload_key(upload_id), data, "application/octet-stream")
        return upload_id

    def cancel(self, job_id: str = JOB) -> JobRecord:
        """As the API does it."""
        record = self.store.request_cancel(job_id)
        wake(self.services(), record)
        return record

    def rest(self) -> None:
        """Until lanes that have failed may be claimed again."""
        self.clock.advance(100 * self.settings.janitor_interval_seconds)

    def chunks(self, job_id: str = JOB) -> Sequence[ChunkRecord]:
        return self.store.chunks(job_id, "preview")

    def refined(self, job_id: str = JOB) -> Sequence[ChunkRecord]:
        return self.store.chunks(job_id, "refined")

    def store_lists(self, job_id: str = JOB) -> ChunkLists:
        return all_chunks(self.store, job_id)

    def tasks(self) -> list[str]:
        """Names of the waiting messages."""
        return [message.task for message in self.queue.messages]


class HookedEngine(FakeEngine):
    """A FakeEngine that calls `at_step(step)` before on_step, so that a test can act in the midst of a chunk."""

    def __init__(self, at_step: Callable[[int], object]) -> None:
        super().__init__()
        self._at_step = at_step

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        def hooked(step: int, steps: int) -> None:
            self._at_step(step)
            on_step(step, steps)

        return super().next_chunk(spec, state, hooked, inputs)


class HookedRefineEngine(FakeRefineEngine):
    """A FakeRefineEngine that calls `at_step(window, step)` before on_step."""

    def __init__(self, at_step: Callable[[int, int], object]) -> None:
        super().__init__()
        self._at_step = at_step

    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        def hooked(step: int, steps: int) -> None:
            self._at_step(state.done, step)
            on_step(step, steps)

        return super().refine_window(spec, state, frames, hooked)


class HookedStorage(FakeStorage):
    """A FakeStorage that calls `after_put(key)`, so that a test can act between two puts."""

    def __init__(self, after_put: Callable[[str], object]) -> None:
        super().__init__()
        self._after_put = after_put

    def put(self, key: str, data: bytes, content_type: str) -> None:
        super().put(key, data, content_type)
        self._after_put(key)


class MemoryJanitorLock:
    """worker.maintenance.janitor.JanitorLock of one process."""

    def __init__(self) -> None:
        self.taken = False
        self.read = False

    @contextmanager
    def exclusive(self) -> Generator[bool]:
        yield not self.taken

    def manifests_read(self) -> bool:
        return self.read

    def begin_reading(self) -> None: ...

    def mark_manifests_read(self) -> bool:
        self.read = True
        return True
