"""The API over fakes, and methods that change jobs as a worker does: start, commit chunks, finish."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

from fastapi.testclient import TestClient

from api.app import create_app
from api.backends.ports import Ports
from api.events.sse import StreamTiming
from core.service.admission.catalog import Catalog
from core.service.domain.chunk_order import next_new_chunk
from core.service.domain.frame_plan import chunk_span
from core.service.domain.manifest import (
    chunk_key,
    metrics_key,
    refined_key,
    refined_video_key,
    thumbnail_key,
    video_key,
)
from core.service.domain.ports import PromptEnhancer, Results
from core.service.domain.schema import (
    ChunkRecord,
    JobMetrics,
    JobRecord,
    Lane,
    MeasuredVideo,
    MetricCurve,
    MetricValue,
    PreparedMedia,
    StepProgress,
)
from core.service.net.resolver import BoundedResolver
from core.service.settings import Settings
from core.service.testing.api_keys import FakeApiKeys
from core.service.testing.clock import FakeClock
from core.service.testing.deliveries import FakeDeliveries
from core.service.testing.event_log import FakeEventLog
from core.service.testing.idempotency import FakeIdempotencyKeys
from core.service.testing.job_store import FakeJobStore
from core.service.testing.pauses import FakePauses
from core.service.testing.queue import FakeTaskQueue
from core.service.testing.registries import FakeUploadStore, FakeWorkerRegistry
from core.service.testing.speed import FakeSpeeds
from core.service.testing.storage import FakeObjectReader, FakeStorage
from core.service.testing.usage import FakeRequestCounts

BASE_URL = "http://testserver"
PROMPT = "a red circle"
QUICK = StreamTiming(read_retry_seconds=0.02, heartbeat_seconds=0.05, look_seconds=0.01)
ENDLESS = "/events"
"""Its answer has no end: tests that read the answers of all paths leave it out. test_all_jobs.py has it."""


@dataclass
class World:
    """A deployment in memory."""

    settings: Settings
    enhancer: PromptEnhancer | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    storage: FakeStorage = field(default_factory=FakeStorage)
    queue: FakeTaskQueue = field(default_factory=FakeTaskQueue)

    def __post_init__(self) -> None:
        self.store = FakeJobStore(self.clock)
        self.events = FakeEventLog(self.store)
        self.workers = FakeWorkerRegistry(self.clock)
        self.pauses = FakePauses()
        self.uploads = FakeUploadStore(self.clock, self.store.usage)
        self.idempotency = FakeIdempotencyKeys(self.clock)
        self.speeds = FakeSpeeds()
        self.keys = FakeApiKeys()
        self.request_counts = FakeRequestCounts()
        self.objects = FakeObjectReader(self.storage)

    def ports(self) -> Ports:
        catalog = Catalog(self.settings)
        return Ports(
            store=self.store,
            events=self.events,
            workers=self.workers,
            pauses=self.pauses,
            storage=self.storage,
            objects=self.objects,
            uploads=self.uploads,
            idempotency=self.idempotency,
            speeds=self.speeds,
            keys=self.keys,
            usage=self.store.usage,
            request_counts=self.request_counts,
            deliveries=FakeDeliveries(self.store, self.clock),
            queue=self.queue,
            clock=self.clock,
            catalog=catalog,
            resolve=BoundedResolver(resolve=self._resolve),
            enhancer=self.enhancer,
        )

    def client(self, settings: Settings | None = None) -> TestClient:
        app = create_app(settings or self.settings, self.ports(), QUICK)
        return TestClient(app, base_url=BASE_URL, follow_redirects=False, raise_server_exceptions=False)

    def prepare(self, job_id: str, num_frames: int, sha256: str = "a") -> None:
        """A CPU worker reads the job's whole video."""
        lease = self.store.claim(job_id, Lane.PREPARE, "cpu-1", 30)
        assert lease
        now = self.clock.now()
        prepared = PreparedMedia(key="p", sha256=sha256, at=now, whole_video=True, num_frames=num_frames)
        self.store.commit_prepare(lease, prepared)

    def start(self, job_id: str) -> None:
        """A worker takes the job."""
        lease = self.store.claim(job_id, Lane.GENERATE, "worker-1", 30)
        assert lease
        self.store.release(lease, count_attempt=False)

    def step(self, job_id: str, step: int, steps: int = 8) -> None:
        """A worker reports a denoising step of the next chunk."""
        index = self.store.get(job_id).chunks.count
        self.store.report_progress(job_id, StepProgress(chunk_index=index, step=step, steps=steps, at=self.clock.now()))

    def make_chunk(self, job_id: str, seconds: float = 2.0) -> None:
        """A worker makes and commits the next chunk, which takes `seconds`."""
        lease = self.store.claim(job_id, Lane.GENERATE, "worker-1", 30)
        assert lease
        self.clock.advance(seconds)
        record = self.store.get(job_id)
        self.store.commit_chunk(lease, self._next_chunk(record), "fake-engine-1")

    def refine_chunk(self, job_id: str) -> None:
        """A worker refines the next chunk of a job whose frames are there."""
        lease = self.store.claim(job_id, Lane.REFINE, "worker-1", 30)
        assert lease
        record = self.store.get(job_id)
        index = record.refined.count
        chunk = self.store.chunks(job_id, "preview")[index].model_copy(update={"key": refined_key(job_id, index)})
        self.store.commit_refined(lease, record.refine_done + 1, (chunk,), "fake-refiner-1")

    def finish(self, job_id: str) -> None:
        """A worker makes what is left and the final video."""
        while not self.store.get(job_id).is_complete:
            self.make_chunk(job_id)
        self.finalize(job_id)

    def finalize(self, job_id: str) -> None:
        self.store.begin_finalizing(job_id)
        lease = self.store.claim(job_id, Lane.FINALIZE, "cpu-1", 30)
        assert lease
        refined = refined_video_key(job_id) if self.store.get(job_id).refined.count else None
        self.store.finish(lease, Results(video_key(job_id), refined, thumbnail_key(job_id)))

    def measure(self, job_id: str) -> JobMetrics:
        """A CPU worker measures the ended job."""
        record = self.store.get(job_id)
        lease = self.store.claim(job_id, Lane.MEASURE, "cpu-1/measure", 30)
        assert lease
        scuts = MetricValue(value=0, title="SCuts", meaning="Number of hard cuts.", better="lower", decimals=0)
        step = MetricCurve(step=1, values=(0.25,) * (record.frames_done - 1))
        values, curves = {"scuts": scuts}, {"warp_error": step}
        video = MeasuredVideo(num_frames=record.frames_done, flow="dis", values=values, curves=curves, notes=("so",))
        metrics = JobMetrics(
            job_id=job_id,
            generation=record.generation,
            measured_at=self.clock.now(),
            version="0.1.0",
            videos={"preview": video},
        )
        key = metrics_key(job_id, record.generation)
        self.storage.put(key, metrics.model_dump_json().encode(), "application/json")
        self.store.commit_measurement(lease)
        return metrics

    def _next_chunk(self, record: JobRecord) -> ChunkRecord:
        span = chunk_span(next_new_chunk(record), record.spec.length)
        return ChunkRecord(
            index=span.index,
            first_frame=span.first_frame,
            num_frames=span.num_frames,
            key=chunk_key(record.id, span.index, record.generation),
            head_bytes=700,
            size_bytes=3000,
            sha256="00",
            created_at=self.clock.now(),
        )

    @staticmethod
    def _resolve(host: str, _port: int) -> list[str]:
        if host.endswith(".nowhere"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ["10.0.0.1"] if host.endswith(".internal") else ["8.8.8.8"]


def submit(api: TestClient, **fields: Any) -> str:
    """The id of a new job."""
    answer = api.post("/jobs", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])
