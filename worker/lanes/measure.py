"""The measure lane: cheap metrics of the final videos of ended jobs that asked for them (core/metrics/video).

Runs on CPU workers, after the job's end and beside everything else that they do. Doing it twice stores the same values.
However it ends, the job stays what it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.service.admission.catalog import Catalog
from core.service.domain.errors import (
    Interrupted,
    JobNotFound,
    LongtakeError,
    ObjectNotFound,
    StoreError,
    VideoUnmeasurable,
)
from core.service.domain.manifest import metrics_key
from core.service.domain.ports import Lease, Storage, measuring_name
from core.service.domain.schema import JobError, JobMetrics, JobRecord, JobStatus, Lane, Variant
from core.service.domain.transitions import has_final_video
from core.service.engines.capabilities import WindowLengths
from worker import metrics
from worker.lanes.completion import wants_webhook, write_manifest
from worker.lanes.lane import LaneWorker, Outcome
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import NewObject, ignore_store_errors
from worker.measuring.child import Measure, measure_in_process
from worker.measuring.request import MeasureRequest
from worker.runtime.services import Services
from worker.runtime.temporary_folders import temporary_folder

logger = logging.getLogger(__name__)

METRICS_TYPE = "application/json"


class Measurer(LaneWorker):
    """Measures jobs of any model, one at a time."""

    lane = Lane.MEASURE
    failure_code = "measuring_error"

    def __init__(self, services: Services, measure: Measure = measure_in_process) -> None:
        super().__init__(services, model="")
        self._measure = measure
        self._catalog = Catalog(services.settings)
        self._generation = 0

    def _next_piece(self, record: JobRecord) -> str:
        del record
        return "the metrics of the video"

    def _check_cancel(self, job_id: str) -> None:
        """An ended job cannot be cancelled. Raises JobNotFound if it was deleted, Interrupted if it goes on."""
        with ignore_store_errors(job_id):
            if not self._has_same_end(job_id):
                raise Interrupted(f"{job_id} goes on after its end")

    def _count_lost_lease(self, job_id: str) -> None:
        """Not if the job goes on: then no other worker measures the video."""
        with ignore_store_errors(job_id), suppress(JobNotFound):
            if self._has_same_end(job_id):
                super()._count_lost_lease(job_id)

    def _has_same_end(self, job_id: str) -> bool:
        """Whether the job's final video is still the one that is being measured. Raises JobNotFound."""
        now = self._services.store.get(job_id)
        return has_final_video(now) and now.generation == self._generation

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        self._generation = record.generation
        self._check_length(record)
        with temporary_folder() as name:
            folder = Path(name)
            videos: dict[Variant, Path] = {
                variant: self._fetch(key, folder / f"{variant}.mp4", keeper) for variant, key in _videos(record)
            }
            request = MeasureRequest(
                folder=folder,
                videos=videos,
                fps=float(record.spec.fps),
                num_frames=_known_lengths(record),
                windows=self._windows(record),
                niceness=self._services.settings.measure_niceness,
            )
            measured = self._measure(request, self._check_often(keeper))
        found = JobMetrics(
            job_id=record.id,
            generation=record.generation,
            measured_at=self._services.clock.now(),
            version=_version(),
            videos=dict(measured),
        )
        key = metrics_key(record.id, record.generation)
        self._put([NewObject(key, found.model_dump_json().encode(), METRICS_TYPE)], keeper)
        committed = self._with_retries(lambda: self._services.store.commit_measurement(lease), keeper)
        metrics.video_measured("measured")
        logger.info("%s: measured", record.id)
        return committed

    def _check_length(self, record: JobRecord) -> None:
        """A worker measures one job after another, so none may take hours."""
        most = self._services.settings.measure_max_frames
        lengths = [record.totals(variant).num_frames for variant, _ in _videos(record)]
        if sum(lengths) > most:
            what = "the video has" if len(lengths) == 1 else "the preview and the refined video have together"
            message = f"{what} {sum(lengths)} frames; at most {most} are measured here"
            raise VideoUnmeasurable(message, fix="download it and run `longtake evaluate` on the file")

    def _windows(self, record: JobRecord) -> WindowLengths | None:
        """None also of a model that is not known here any more."""
        try:
            preset = self._catalog.get(record.spec.model).preset
        except LongtakeError:
            return None
        return preset.capabilities.windows_of(record.spec)

    def _fetch(self, key: str, file: Path, keeper: LeaseKeeper) -> Path:
        try:
            call = self._call(partial(_download, self._services.storage, key, file), keeper)
            call.result(self._check_often(keeper))
        except ObjectNotFound as error:
            fix = "tell the operator: storage loses objects"
            raise VideoUnmeasurable("the final video is missing", fix=fix) from error
        return file

    def _after_commit(self, record: JobRecord) -> None:
        write_manifest(self._services, record)
        if wants_webhook(record, "job.measured"):
            self._services.queue.deliver_webhooks()

    def _failed(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> Outcome:
        if isinstance(error, VideoUnmeasurable):
            return self._fail_job(record, lease, error)
        return super()._failed(record, lease, error, keeper)

    def _poisoned(self, record: JobRecord) -> Outcome:
        deaths = record.lane(self.lane).deaths
        message = f"{deaths} workers in a row died while measuring the video"
        fix = "tell the operator: the workers' logs show how they ended"
        self._give_up(record, JobError(code="poison_job", message=message, retryable=False, fix=fix))
        return Outcome.FAILED

    def _give_up(self, record: JobRecord, reason: JobError) -> None:
        """There are no metrics. The job stays as it is."""
        logger.error("%s: not measured: %s: %s", record.id, reason.code, reason.message)
        try:
            told = self._services.store.give_up_measuring(record.id, record.generation, reason)
        except JobNotFound:
            return
        metrics.video_measured("failed")
        self._after_commit(told)


def _videos(record: JobRecord) -> Iterator[tuple[Variant, str]]:
    """The final videos of the job with their keys."""
    if record.video_key is not None:
        yield "preview", record.video_key
    if record.refined_video_key is not None:
        yield "refined", record.refined_video_key


def _known_lengths(record: JobRecord) -> dict[Variant, int]:
    """Frames that each final video must have. That of a canceled job ends before a damaged chunk."""
    if record.status is not JobStatus.SUCCEEDED:
        return {}
    return {variant: record.totals(variant).num_frames for variant, _ in _videos(record)}


def _download(storage: Storage, key: str, file: Path) -> None:
    with file.open("wb") as target:
        for piece in storage.pieces(key):
            target.write(piece)


def _version() -> str:
    try:
        return version("longtake")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


class MeasuringLoop:
    """Measures the videos that wait, one after another, for a thread of a CPU worker."""

    def __init__(self, services: Services, measure: Measure = measure_in_process) -> None:
        self._process_name = services.worker
        # A name of its own: the supervisor releases the newest lease of each name of a worker that died.
        self._services = replace(services, worker=measuring_name(services.worker))
        self._measure = measure

    def run(self) -> None:
        """Until nothing waits, the process drains, or it is paused. Raises StoreError."""
        services = self._services
        while not services.drain.is_set() and services.pauses.of("", self._process_name) is None:
            ttl = services.settings.lease_ttl_seconds
            lease = services.store.claim_next((Lane.MEASURE,), "", services.worker, ttl)
            if lease is None:
                return
            try:
                Measurer(services, self._measure).do(lease)
            except StoreError:
                raise
            except Exception:  # the lane has recorded the attempt; other jobs must not wait for it
                logger.exception("%s was not measured", lease.job_id)
