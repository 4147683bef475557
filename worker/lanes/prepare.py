"""The prepare lane: fetches and decodes the input media of jobs on CPU workers, before the generate lane needs them.

MediaPreparer prepares one job; PreparePool runs many at a time in a CPU worker. No source can take all of its slots. At
most `media_ready_ahead` jobs of a model are prepared ahead of the engines: decoded media are far larger than files.
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from core.disk_errors import is_disk_error
from core.service.domain.errors import (
    JobNotFound,
    MediaError,
    MediaFetchFailed,
    SourceGone,
    StorageError,
    StoreDamaged,
    StoreError,
    UrlRefused,
)
from core.service.domain.manifest import input_index_key, input_key, input_piece_key
from core.service.domain.ports import Lease, media_thread_names
from core.service.domain.schema import JobRecord, JobStatus, Lane, PreparedMedia
from core.service.domain.transitions import awaits_copies
from worker import metrics
from worker.lanes.branch_copies import BranchCopies
from worker.lanes.completion import wake, write_manifest
from worker.lanes.lane import LaneWorker, Outcome
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import STATE_TYPE
from worker.media.input_length import DecodedMedia
from worker.media.input_media import InputMediaReader, input_media_of
from worker.media.media_concurrency import FetchSlots, Source
from worker.runtime.services import Services
from worker.runtime.thread_shutdown import Deadline
from worker.runtime.ticker import Ticker

logger = logging.getLogger(__name__)

SCAN_SECONDS = 1.0
"""Pause between two scans of the queue: a message wakes only one CPU worker, whose slots may all be taken."""
FIRST_SCAN, SCAN_GROWTH = 32, 8
"""Jobs read first in a scan, and the factor by which it reads more if all of them must wait for their sources."""
LONGEST_SCAN, FULL_SCAN_SECONDS = 2000, 10.0
"""Most jobs read in one scan, except that one in each FULL_SCAN_SECONDS reads all."""
JOBS_REMEMBERED = 20_000
_JOB_ERRORS = (JobNotFound, StoreDamaged, StorageError)
"""Errors that concern one job and not the others of the queue."""
_OUT_OF_RESOURCES = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE})
"""Starting a process failed for a reason of this machine, not of the job."""


class MediaPreparer(LaneWorker):
    """Prepares the input media of one job at a time, of any model."""

    lane = Lane.PREPARE
    can_kill_workers = False  # decoders are other processes, and the worker has other jobs at the same time
    failure_code = "prepare_error"

    def __init__(self, services: Services, reader: InputMediaReader) -> None:
        super().__init__(services, "")
        self._reader = reader

    def _next_piece(self, record: JobRecord) -> str:
        if awaits_copies(record):
            return "copying the shared chunks"
        return f"preparing the {input_media_of(record.spec).kind}"

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        services = self._services
        if awaits_copies(record) and record.branched_from is not None:
            return BranchCopies(services).make(record, record.branched_from, lease, keeper)
        check = self._check_often(keeper)
        source = self._with_retries(lambda: Source.of(record.spec, services.uploads), keeper)
        with self._reader.reading(record.spec, check, self._pause(keeper), source.owner) as media:
            key = self._store_media(record.id, lease, media, keeper)
        prepared = PreparedMedia(
            key=key,
            sha256=media.sha256,
            at=services.clock.now(),
            whole_video=bool(media.pieces),
            num_frames=media.num_frames,
        )
        ready = self._with_retries(lambda: services.store.commit_prepare(lease, prepared, media.warnings), keeper)
        write_manifest(services, ready)
        logger.info("%s: input media are ready", record.id)
        return ready

    def _store_media(self, job_id: str, lease: Lease, media: DecodedMedia, keeper: LeaseKeeper) -> str:
        """Upload all files, the pieces of a whole video before their index. Returns the key of the last."""
        index_key = input_index_key(job_id, lease.token)
        keys = [input_piece_key(index_key, number) for number in range(len(media.pieces))]
        keys.append(index_key if media.pieces else input_key(job_id, lease.token))
        for key, file in zip(keys, (*media.pieces, media.file), strict=True):
            # Streamed from the file: several may be uploaded at a time, and an image may have 120 MB.
            put = partial(self._services.storage.put_file, key, file, STATE_TYPE)
            self._call(put, keeper).result(self._check_often(keeper))
            metrics.bytes_stored(file.stat().st_size)
        return keys[-1]

    def _after_commit(self, record: JobRecord) -> None:
        wake(self._services, record)

    def _failed(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> Outcome:
        """Fail the job at once if its media cannot be used; retry if a server did not answer or this machine failed."""
        if isinstance(error, OSError) and error.errno in _OUT_OF_RESOURCES:
            logger.error("%s: this machine is out of resources: %r", record.id, error)
            return self._retry_later(lease)
        if is_disk_error(error) or not isinstance(error, MediaError | UrlRefused | SourceGone):
            return super()._failed(record, lease, error, keeper)
        if not isinstance(error, MediaFetchFailed):
            return self._fail_job(record, lease, error)
        self._count_attempt(record, lease, error, keeper)
        return Outcome.FAILED


@dataclass(frozen=True)
class _WaitingJob:
    """Source and model of a waiting job. A branch, whose chunks are copied, needs no place for decoded media."""

    source: Source
    model: str
    is_branch: bool


class _Scan:
    """State of one scan of the queue: sources without a free slot, and models of which enough jobs are prepared."""

    def __init__(self, services: Services) -> None:
        self.busy = set[Source]()
        self._store = services.store
        self._most_ahead = services.settings.media_ready_ahead
        self._room = dict[str, int]()
        self._past_started = False

    def has_room_for(self, job_id: str, model: str) -> bool:
        """Whether one more job of a model may be prepared. A job that has started needs its media now."""
        if model not in self._room:
            self._room[model] = self._most_ahead - self._store.count_prepared(model, self._most_ahead)
        return self._room[model] > 0 or self._has_started(job_id)

    def count_started(self, model: str) -> None:
        self._room[model] -= 1

    def _has_started(self, job_id: str) -> bool:
        """Whether the job has started. Those come first in the queue."""
        if not self._past_started:
            with suppress(*_JOB_ERRORS):
                self._past_started = self._store.get(job_id).status is JobStatus.QUEUED
        return not self._past_started


class PreparePool:
    """Prepares the input media of many jobs at a time, a thread for each.

    Jobs whose source has no free slot wait; later jobs of other sources overtake them.
    """

    def __init__(
        self,
        services: Services,
        reader: InputMediaReader | None = None,
        new_thread: Callable[..., threading.Thread] = threading.Thread,
    ) -> None:
        self._services = services
        self._new_thread = new_thread
        self._reader = reader or InputMediaReader(services)
        settings = services.settings
        names = media_thread_names(services.worker, settings.media_fetches)
        self._slots = FetchSlots(names, settings.media_fetches_per_host)
        self._known = dict[str, _WaitingJob]()
        self._next_full_scan = time.monotonic()
        self._threads = dict[str, threading.Thread]()
        self._ticker = Ticker("media", SCAN_SECONDS, self.scan)

    def start(self) -> PreparePool:
        self._ticker.start()
        return self

    def wake(self) -> None:
        """Scan the queue now."""
        self._ticker.wake()

    def stop(self, timeout_seconds: float) -> None:
        """Called in a drain: wait until all leases are released, at most so long."""
        self.request_stop()
        self.join(timeout_seconds)

    def request_stop(self) -> None:
        """Start no more jobs."""
        self._ticker.request_stop()

    def join(self, timeout_seconds: float) -> None:
        """Wait for all jobs in work, at most so long in total."""
        deadline = Deadline(timeout_seconds)
        self._ticker.join(deadline.left_seconds)
        for thread in [*self._threads.values()]:
            thread.join(deadline.left_seconds)

    def scan(self) -> None:
        """Start as many waiting jobs as there are free slots."""
        scan = _Scan(self._services)
        for job_id in self._candidates():
            if self._services.drain.is_set() or not self._slots.any_free:
                return
            waiting = self._waiting_job(job_id)
            if waiting is None or waiting.source in scan.busy:
                continue
            if not self._slots.has_slot_for(waiting.source):
                scan.busy.add(waiting.source)
            elif waiting.is_branch:
                self._start(job_id, waiting.source)
            elif scan.has_room_for(job_id, waiting.model) and self._start(job_id, waiting.source):
                scan.count_started(waiting.model)

    def _candidates(self) -> Iterator[str]:
        """Waiting jobs in order, each once; reads more of the queue while slots are free."""
        seen, limit, most = set[str](), FIRST_SCAN, self._scan_limit()
        while self._slots.any_free:
            found = self._services.store.ready(Lane.PREPARE, "", limit)
            yield from [job_id for job_id in found if job_id not in seen]
            if len(found) < limit or limit >= most:
                return
            seen.update(found)
            limit = min(limit * SCAN_GROWTH, most)

    def _scan_limit(self) -> int:
        """Jobs that this scan may read. A long queue is read whole only now and then, because that costs Redis time."""
        if time.monotonic() < self._next_full_scan:
            return LONGEST_SCAN
        self._next_full_scan = time.monotonic() + FULL_SCAN_SECONDS
        return sys.maxsize

    def _waiting_job(self, job_id: str) -> _WaitingJob | None:
        """None for a job that cannot be read."""
        if known := self._known.get(job_id):
            return known
        try:
            record = self._services.store.get(job_id)
        except _JOB_ERRORS as error:
            logger.debug("%s stays in its queue: %s", job_id, error)
            return None
        if len(self._known) >= JOBS_REMEMBERED:
            self._known.clear()
        is_branch = awaits_copies(record)
        source = Source.of_job(record, self._services.uploads)
        waiting = self._known[job_id] = _WaitingJob(source, record.spec.model, is_branch)
        return waiting

    def _start(self, job_id: str, source: Source) -> bool:
        """Claim a job and start its thread; False if it cannot be claimed. On any error slot and lease are released."""
        slot = self._slots.take(source)
        lease: Lease | None = None
        try:
            lease = self._services.store.claim(job_id, Lane.PREPARE, slot, self._services.settings.lease_ttl_seconds)
            if lease is not None:
                self._start_thread(lease, slot, source)
                return True
        except _JOB_ERRORS as error:
            logger.debug("%s stays in its queue: %s", job_id, error)
        except BaseException:
            self._slots.give_back(slot, source)
            if lease is not None:
                with suppress(StoreError):  # then it expires
                    self._services.store.release(lease, count_attempt=False)
            raise
        self._slots.give_back(slot, source)
        return False

    def _start_thread(self, lease: Lease, slot: str, source: Source) -> None:
        """Raises RuntimeError if this machine cannot start another thread."""
        thread = self._new_thread(target=partial(self._work, lease, slot, source), name=f"media-{lease.job_id}")
        thread.daemon = True
        thread.start()
        self._threads[slot] = thread

    def _work(self, lease: Lease, slot: str, source: Source) -> None:
        try:
            MediaPreparer(replace(self._services, worker=slot), self._reader).do(lease)
        except StoreError as error:
            logger.warning("the store failed; %s waits until its lease expires: %s", lease.job_id, error.message)
        except Exception:  # the thread's outermost frame; the lane has recorded failures of the job
            logger.exception("%s cannot be prepared", lease.job_id)
        finally:
            self._slots.give_back(slot, source)
            self._known.pop(lease.job_id, None)
            self._ticker.wake()
