"""The metrics of an API process, for Prometheus. docs/operations.md lists them.

No label has a value that clients choose: routes are templates, methods those that there are, models those that exist.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from api.pause_metrics import pause_metrics
from api.pool_metrics import pool_metrics
from core.service.domain.capacity import PoolDemand
from core.service.domain.media_types import MediaKind
from core.service.domain.ports import JobCounts, PauseTarget, WorkerStatus
from core.service.domain.uploads import Upload

disable_created_metrics()  # a series more for each counter
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the buckets of durations; `Prefer: wait` and playlists take the longest."""
_ANY_KIND = "any"
"""Kind of an upload whose declared type is that of any file."""


@dataclass(frozen=True)
class ServiceCounts:
    """What Redis tells about the whole service at one moment."""

    jobs: JobCounts
    workers: Sequence[WorkerStatus]
    demands: Sequence[PoolDemand]
    uploads: int
    read_at: datetime
    paused: Collection[PauseTarget]


class UploadCounters:
    """Uploads that this process has made."""

    def __init__(self) -> None:
        self._made = Counter("longtake_uploads", "Uploads made.", ("kind",), registry=None)
        self._bytes = Counter("longtake_upload_bytes", "Bytes declared for these.", ("kind",), registry=None)
        for kind in (*MediaKind, None):
            self._made.labels(kind or _ANY_KIND)
            self._bytes.labels(kind or _ANY_KIND)

    def register(self, registry: CollectorRegistry) -> None:
        registry.register(self._made)
        registry.register(self._bytes)

    def made(self, upload: Upload) -> None:
        """An upload was made: its client may send the file, or has sent it with the request of a job."""
        (kind,) = upload.kinds if len(upload.kinds) == 1 else (_ANY_KIND,)
        self._made.labels(kind).inc()
        self._bytes.labels(kind).inc(upload.size_bytes)


class ApiMetrics:
    """One for each application. `event_streams` and `media_streams` tell how many are open now. `target_queue_seconds`
    is the setting."""

    def __init__(
        self,
        event_streams: Callable[[], int],
        media_streams: Callable[[], int],
        uploads: UploadCounters,
        target_queue_seconds: float,
    ) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        uploads.register(registry)
        self._requests = Counter(
            "longtake_http_requests", "HTTP requests answered.", ("method", "route", "status"), registry=registry
        )
        self._durations = Histogram(
            "longtake_http_request_duration_seconds",
            "From a request's arrival to the first byte of its answer.",
            ("method", "route"),
            buckets=SECONDS,
            registry=registry,
        )
        for name, text, count in (
            ("longtake_event_streams", "Open event streams.", event_streams),
            ("longtake_media_streams", "Videos and chunks being sent.", media_streams),
        ):
            Gauge(name, text, registry=registry).set_function(count)
        self._service = _ServiceCollector(target_queue_seconds)
        registry.register(self._service)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route`: the template of its path."""
        self._requests.labels(method, route, str(status)).inc()
        self._durations.labels(method, route).observe(seconds)

    def text(self, counts: ServiceCounts | None, accept: str) -> tuple[bytes, str]:
        """All metrics, and their media type, one that the header `accept` takes. `counts`: None if Redis is away."""
        self._service.counts = counts
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _ServiceCollector(Collector):
    """Metrics of the whole service, the same in each API process."""

    def __init__(self, target_queue_seconds: float) -> None:
        self.counts: ServiceCounts | None = None
        self._target_seconds = target_queue_seconds

    def collect(self) -> Iterable[Metric]:
        counts = self.counts
        yield GaugeMetricFamily("longtake_redis_up", "1 if Redis answered.", value=0 if counts is None else 1)
        if counts is not None:
            yield pause_metrics(counts.paused, {model for model, _ in counts.jobs.queued})
            yield from _of_jobs(counts.jobs, counts.read_at)
            yield _of_workers(counts.workers)
            yield GaugeMetricFamily("longtake_stored_uploads", "Uploads that are kept.", value=counts.uploads)
            models = {model for model, _ in counts.jobs.queued}
            yield from pool_metrics(counts.demands, models, counts.workers, self._target_seconds, counts.paused)


def _of_jobs(jobs: JobCounts, now: datetime) -> Iterable[Metric]:
    by_status = GaugeMetricFamily("longtake_jobs", "Stored jobs.", labels=["status"])
    for status, count in jobs.by_status.items():
        by_status.add_metric([status.value], count)
    of_class = ["model", "priority"]
    queued = GaugeMetricFamily("longtake_queued_jobs", "Jobs that no worker has begun.", labels=of_class)
    age = GaugeMetricFamily("longtake_queue_age_seconds", "Longest wait of these so far.", labels=of_class)
    for (model, priority), waiting in jobs.queued.items():
        queued.add_metric([model, priority.value], waiting.count)
        since = waiting.oldest_at or now
        age.add_metric([model, priority.value], max(0.0, (now - since).total_seconds()))
    lanes = GaugeMetricFamily("longtake_lane_jobs", "Jobs with work on a lane.", labels=["lane", "model"])
    for (lane, model), count in jobs.in_lanes.items():
        lanes.add_metric([lane.value, model], count)
    pending = GaugeMetricFamily("longtake_webhooks_pending", "Webhooks to be sent.", value=jobs.pending_webhooks)
    return by_status, queued, age, lanes, pending


def _of_workers(workers: Sequence[WorkerStatus]) -> Metric:
    family = GaugeMetricFamily("longtake_workers", "Worker processes.", labels=["kind", "model", "state", "device"])
    rows = ((worker.kind, worker.model or "", worker.state, worker.device_kind or "") for worker in workers)
    for labels, count in Tally(rows).items():
        family.add_metric(labels, count)
    return family
