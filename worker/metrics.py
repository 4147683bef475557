"""The metrics of a worker process, for Prometheus. docs/operations.md lists them.

One process has one registry: its tasks and background threads are threads of it (Celery's pool is `threads`), and
decoder processes count nothing. No label has a value that clients choose.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.service.admission.estimate import STORING, WAITING
from core.service.domain.frame_rate import seconds_of
from core.service.domain.schema import ChunkRecord, DeliveryState, JobSpec, JobStatus, Lane
from core.service.settings import Settings

MeasuringOutcome = Literal["measured", "failed"]

disable_created_metrics()  # a series more for each counter
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_FACTORS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_WORK = ("model", "lane")
_PHASES = frozenset({*WAITING, *STORING, "load", "commit"})
"""Phases of a chunk's timings that are ours; those that engines report are one phase, `engine`."""

_chunks = Counter("longtake_chunks", "Chunks committed.", _WORK, registry=REGISTRY)
_frames = Counter("longtake_frames", "Frames of committed chunks.", _WORK, registry=REGISTRY)
_steps = Counter("longtake_steps", "Denoising steps.", _WORK, registry=REGISTRY)
_phases = Histogram(
    "longtake_chunk_phase_seconds",
    "Seconds of a committed chunk in each phase.",
    (*_WORK, "phase"),
    buckets=_SECONDS,
    registry=REGISTRY,
)
_factors = Histogram(
    "longtake_chunk_realtime_factor",
    "Seconds of video per second of work on a chunk.",
    _WORK,
    buckets=_FACTORS,
    registry=REGISTRY,
)
_stalls = Counter("longtake_stalls", "Chunks that came too late for viewers.", ("model", "priority"), registry=REGISTRY)
_stalled = Counter("longtake_stalled_seconds", "Seconds that viewers waited.", ("model", "priority"), registry=REGISTRY)
_stored = Counter("longtake_stored_bytes", "Bytes put to the object store.", registry=REGISTRY)
_ended = Counter("longtake_jobs_ended", "Jobs that this process ended.", ("lane", "status"), registry=REGISTRY)
_resumes = Counter("longtake_resumes", "States read from the object store.", ("model",), registry=REGISTRY)
_failed = Counter("longtake_failed_attempts", "Failures that count as an attempt.", ("lane",), registry=REGISTRY)
_retries = Counter("longtake_server_retries", "Repeated calls of servers.", ("server",), registry=REGISTRY)
_lost = Counter("longtake_leases_lost", "Leases lost.", ("lane",), registry=REGISTRY)
_refused = Counter("longtake_commits_refused", "Commits that came too late.", ("lane",), registry=REGISTRY)
_measured = Counter("longtake_measurements", "Jobs whose measuring ended.", ("outcome",), registry=REGISTRY)
_attempts = Counter("longtake_webhook_attempts", "Attempts to deliver a webhook.", ("outcome",), registry=REGISTRY)
_attempt_seconds = Histogram(
    "longtake_webhook_attempt_duration_seconds", "Seconds of an attempt.", buckets=_SECONDS, registry=REGISTRY
)
for _rare, _values in (  # so that the first one is a rise from 0: alerts would miss a counter that begins at 1
    (_failed, Lane),
    (_lost, Lane),
    (_refused, Lane),
    (_retries, ("redis", "storage")),
    (_attempts, get_args(DeliveryState)),
    (_measured, get_args(MeasuringOutcome)),
):
    for _value in _values:
        _rare.labels(str(_value))
for _lane in frozenset(Lane) - {Lane.MEASURE}:  # which ends no job
    _ended.labels(_lane.value, JobStatus.FAILED.value)
for _status in (JobStatus.SUCCEEDED, JobStatus.CANCELED):
    _ended.labels(Lane.FINALIZE.value, _status.value)

logger = logging.getLogger(__name__)


def chunks_committed(
    spec: JobSpec, lane: Lane, chunks: Sequence[ChunkRecord], *, stored_meanwhile: bool = False
) -> None:
    """These new chunks were committed. `stored_meanwhile`: they were encoded and stored while the next one was made,
    which took none of the engine's time."""
    not_counted = WAITING | STORING if stored_meanwhile else WAITING
    labels = (spec.model, lane.value)
    if lane is Lane.GENERATE:
        _stalls.labels(spec.model, spec.priority.value)  # 0 until there is one
        _stalled.labels(spec.model, spec.priority.value)
    for chunk in chunks:
        _chunks.labels(*labels).inc()
        _frames.labels(*labels).inc(chunk.num_frames)
        phases = {phase: chunk.timings[phase] for phase in _PHASES & chunk.timings.keys()}
        phases["engine"] = sum(chunk.timings.values()) - sum(phases.values())
        for phase, seconds in phases.items():
            _phases.labels(*labels, phase).observe(max(0.0, seconds))
        work = sum(seconds for phase, seconds in phases.items() if phase not in not_counted)
        if work > 0:
            _factors.labels(*labels).observe(seconds_of(chunk.num_frames, spec.fps) / work)


def viewers_stalled(spec: JobSpec, seconds: float) -> None:
    """Viewers who watch the job from its first chunk have waited so long for the chunk that is there now."""
    _stalls.labels(spec.model, spec.priority.value).inc()
    _stalled.labels(spec.model, spec.priority.value).inc(seconds)


def step_done(model: str, lane: Lane) -> None:
    """A denoising step is done."""
    _steps.labels(model, lane.value).inc()


def bytes_stored(count: int) -> None:
    """An object of so many bytes was put."""
    _stored.inc(count)


def job_ended(status: JobStatus, lane: Lane) -> None:
    """This process has ended a job with its work on `lane`."""
    _ended.labels(lane.value, status.value).inc()


def resumed(model: str) -> None:
    """The state from which a job goes on was read from the object store."""
    _resumes.labels(model).inc()


def attempt_failed(lane: Lane) -> None:
    """A failure counts as an attempt."""
    _failed.labels(lane.value).inc()


def server_retried(server: Literal["redis", "storage"]) -> None:
    """A call of a server failed and will be repeated."""
    _retries.labels(server).inc()


def lease_lost(lane: Lane) -> None:
    """Work was interrupted because its lease was lost to another worker."""
    _lost.labels(lane.value).inc()


def commit_refused(lane: Lane) -> None:
    """A commit came too late."""
    _refused.labels(lane.value).inc()


def video_measured(outcome: MeasuringOutcome) -> None:
    """Measuring the video of an ended job is done, or given up."""
    _measured.labels(outcome).inc()


def webhook_attempted(outcome: DeliveryState, seconds: float) -> None:
    """An attempt ended; `outcome`: the state of the delivery after it."""
    _attempts.labels(outcome).inc()
    _attempt_seconds.observe(seconds)


class _GpuMemory(Collector):
    """Memory of the process's GPU, as torch counts it: asks neither the device nor its driver. torch is read only where
    an engine has loaded it and uses CUDA."""

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("longtake_gpu_memory_bytes", "Memory of the GPU.", labels=["kind"])
        torch: Any = sys.modules.get("torch")
        with suppress(AttributeError, RuntimeError):  # torch is being imported, or the device has failed
            if torch is not None and torch.cuda.is_initialized():
                family.add_metric(["allocated"], torch.cuda.memory_allocated())
                family.add_metric(["reserved"], torch.cuda.memory_reserved())
                family.add_metric(["total"], torch.cuda.get_device_properties(0).total_memory)
        return (family,)


REGISTRY.register(_GpuMemory())


def serve_metrics(settings: Settings, number: int) -> Callable[[], None]:
    """Serve /metrics if LONGTAKE_WORKER_METRICS_PORT is set; returns what ends it. `number`: of this process among
    those of its supervisor. A host or port that cannot be used is logged, and the work goes on without."""
    if settings.worker_metrics_port == 0:
        return _nothing
    host, port = settings.worker_metrics_host, settings.worker_metrics_port + number
    try:
        server, _thread = start_http_server(port, host, REGISTRY)
    except (OSError, OverflowError, UnicodeError) as error:  # the last: of a host that can be no name, such as a..b
        logger.error(
            "metrics are not served on port %d of %s: %s; set LONGTAKE_WORKER_METRICS_PORT to a free port and"
            " LONGTAKE_WORKER_METRICS_HOST to an address of this machine",
            port, host, error,
        )  # fmt: skip
        return _nothing
    logger.info("metrics are served on port %d of %s", port, host)

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


def _nothing() -> None: ...
