"""The ports that the contract tests, and the requests and answers that its tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core.service.domain.ids import new_upload_id
from core.service.domain.manifest import input_key
from core.service.domain.ports import (
    Clock,
    Deliveries,
    EventLog,
    JobStore,
    Lease,
    Outbox,
    Results,
    UploadStore,
    WorkerRegistry,
    WorkerStatus,
)
from core.service.domain.schema import (
    ControlSpec,
    JobError,
    JobRecord,
    JobWarning,
    Lane,
    PreparedMedia,
    StepProgress,
)
from core.service.domain.uploads import Upload
from tests.helpers.jobs import (
    DAY_ONE,
    chunk_of,
    queued_job,
)

LONG, SHORT = 60.0, 0.2
"""Lease times in seconds: one that outlives a test, one that a test can wait for."""
WITH_VIDEO: dict[str, Any] = {"video": "https://example.com/a.mp4"}
WITH_CONTROL: dict[str, Any] = {
    "control": ControlSpec(type="canny", video="https://example.com/a.mp4", scale=1.0, start=0.0, end=1.0)
}
ODD = JobWarning(code="odd", message="the clip is odd", field="video")
ERROR = JobError(code="boom", message="it broke", retryable=False)
HOOKED: dict[str, Any] = {
    "webhook_url": "https://example.com/hook",
    "webhook_events": ("chunk.completed", "job.succeeded"),
}


@dataclass
class StorePorts:
    """One implementation of every port, over one memory. `wait_until_free` lets a short lease run out."""

    store: JobStore
    log: EventLog
    outbox: Outbox
    workers: WorkerRegistry
    uploads: UploadStore
    clock: Clock
    wait_until_free: Callable[[str, Lane], None]
    pass_time: Callable[[float], None]
    """Lets seconds pass for the outbox."""
    deliveries: Deliveries

    def claim(self, job: JobRecord, lane: Lane = Lane.GENERATE, *, ttl: float = LONG, worker: str = "w1") -> Lease:
        lease = self.store.claim(job.id, lane, worker, ttl)
        assert lease is not None
        return lease

    def make_chunk(self, job: JobRecord, index: int, fingerprint: str = "f1") -> JobRecord:
        return self.store.commit_chunk(self.claim(job), chunk_of(job, index), fingerprint)

    def make_all_chunks(self, job: JobRecord) -> JobRecord:
        self.make_chunk(job, 0)
        return self.make_chunk(job, 1)

    def finish(self, job: JobRecord) -> JobRecord:
        return self.store.finish(self.claim(job, Lane.FINALIZE), Results("v", None, "t"))

    def event_types(self, job: JobRecord) -> list[str]:
        return [str(event.type) for event in self.log.read(job.id)]


def progress(step: int) -> StepProgress:
    return StepProgress(chunk_index=0, step=step, steps=4, at=DAY_ONE)


def prepared_of(lease: Lease) -> PreparedMedia:
    """What the holder of the lease has prepared."""
    return PreparedMedia(key=input_key(lease.job_id, lease.token), sha256=f"{lease.token:064x}", at=DAY_ONE)


def owned_job(number: int, owner: str | None) -> JobRecord:
    return queued_job(number).model_copy(update={"owner": owner})


def worker(name: str) -> WorkerStatus:
    return WorkerStatus(
        name=name, kind="generate", model="sprites", state="ready", device="cpu", pid=1, started_at=DAY_ONE
    )


def upload_at(moment: datetime, **more: Any) -> Upload:
    return Upload(
        id=new_upload_id(),
        content_type="video/mp4",
        size_bytes=7,
        created_at=moment,
        expires_at=moment + timedelta(days=1),
        **more,
    )
