"""The prepare lane: fetches and decodes what a job begins with before a worker with an engine is asked for it.

MediaPreparer does it for one job as any lane does its pieces. Preparer gives places in a CPU worker to jobs, so that no
host, however slow, and neither uploads nor URLs have all of them, and no further ahead of the engines than a setting
says: what is ready is far larger than what was given. Over ports only; given.py sees to the bytes.
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

from core.service.domain.errors import (
    JobNotFound,
    MediaError,
    MediaFetchFailed,
    StorageError,
    StoreDamaged,
    StoreError,
    UrlRefused,
)
from core.service.domain.manifest import input_index_key, input_key, input_piece_key
from core.service.domain.ports import Lease
from core.service.domain.schema import JobRecord, JobStatus, Lane, PreparedMedia
from worker.lanes.completion import wake, write_manifest
from worker.lanes.lane import LaneWorker, Outcome
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import STATE_TYPE
from worker.media.input_media import InputMediaReader, Pixels, given_of
from worker.media.media_concurrency import Places, Source
from worker.runtime.disk_errors import is_disk_error
from worker.runtime.names import slot_names
from worker.runtime.services import Services
from worker.runtime.thread_shutdown import Deadline
from worker.runtime.ticker import Ticker

logger = logging.getLogger(__name__)

PASS_SECONDS = 1.0
"""Pause between two looks for jobs: a message wakes one CPU worker, and its places may all be taken."""
FIRST_LOOK, LOOKS_GROW = 32, 8
"""Jobs looked at in one pass, and how much further it looks where all of them have to wait for their hosts."""
MOST_LOOKED_AT, FAR_LOOK_SECONDS = 2000, 10.0
"""No further than that, but once in so long."""
JOBS_REMEMBERED = 20_000
_OF_ONE_JOB = (JobNotFound, StoreDamaged, StorageError)
"""Why one job cannot be read or claimed, whatever becomes of the others."""
_SHORT_OF = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE})
"""What this machine may be short of when a process is to be started."""


class MediaPreparer(LaneWorker):
    """Prepares the media of jobs of any model, one at a time."""

    lane = Lane.PREPARE
    can_kill_workers = (
        False  # what strangers have made is decoded elsewhere, and jobs in work beside it are not to blame
    )
    failure_code = "prepare_error"

    def __init__(self, services: Services, reader: InputMediaReader) -> None:
        super().__init__(services, "")
        self._reader = reader

    def _next_piece(self, record: JobRecord) -> str:
        return f"preparing the {given_of(record.spec)[0]}"

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        services = self._services
        check = self._check_often(keeper)
        source = self._with_retries(lambda: Source.of(record.spec, services.uploads), keeper)
        with self._reader.reading(record.spec, check, self._pause(keeper), source.owner) as pixels:
            key = self._store_pixels(record.id, lease, pixels, keeper)
        prepared = PreparedMedia(
            key=key, sha256=pixels.sha256, at=services.clock.now(), whole_video=bool(pixels.pieces)
        )
        ready = self._with_retries(lambda: services.store.commit_prepare(lease, prepared, pixels.warnings), keeper)
        write_manifest(services, ready)
        logger.info("%s: what it begins with is ready", record.id)
        return ready

    def _store_pixels(self, job_id: str, lease: Lease, pixels: Pixels, keeper: LeaseKeeper) -> str:
        """Put all files, a whole video's pieces before their index; the key of the last."""
        index_key = input_index_key(job_id, lease.token)
        keys = [input_piece_key(index_key, number) for number in range(len(pixels.pieces))]
        keys.append(index_key if pixels.pieces else input_key(job_id, lease.token))
        for key, file in zip(keys, (*pixels.pieces, pixels.file), strict=True):
            # From the file: several may be sent at a time, and a picture has up to 120 MB.
            put = partial(self._services.storage.put_file, key, file, STATE_TYPE)
            self._call(put, keeper).result(self._check_often(keeper))
        return keys[-1]

    def _after_commit(self, record: JobRecord) -> None:
        wake(self._services, record)

    def _failed(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> Outcome:
        """Of unusable media only a server that did not answer may do so at the next try; all else fails the job now."""
        if isinstance(error, OSError) and error.errno in _SHORT_OF:
            logger.error("%s: this machine: %r", record.id, error)
            return self._retry_later(lease)
        if is_disk_error(error) or not isinstance(error, MediaError | UrlRefused):
            return super()._failed(record, lease, error, keeper)
        if not isinstance(error, MediaFetchFailed):
            return self._fail_job(record, lease, error)
        self._count_attempt(record, lease, error, keeper)
        return Outcome.FAILED


@dataclass(frozen=True)
class _Waiting:
    """What is known of a waiting job."""

    source: Source
    model: str


class _Pass:
    """What one look at the queue has found: whose places are taken, and of which models enough is ready."""

    def __init__(self, services: Services) -> None:
        self.full = set[Source]()
        self._store = services.store
        self._most_ahead = services.settings.media_ready_ahead
        self._room = dict[str, int]()
        self._begun_are_over = False

    def has_room_for(self, job_id: str, model: str) -> bool:
        """Whether what is ready of a model may become more. A job that has begun needs its media now."""
        if model not in self._room:
            self._room[model] = self._most_ahead - self._store.count_prepared(model, self._most_ahead)
        return self._room[model] > 0 or self._has_begun(job_id)

    def note_begun(self, model: str) -> None:
        self._room[model] -= 1

    def _has_begun(self, job_id: str) -> bool:
        """These come first in the queue."""
        if not self._begun_are_over:
            with suppress(*_OF_ONE_JOB):
                self._begun_are_over = self._store.get(job_id).status is JobStatus.QUEUED
        return not self._begun_are_over


class Preparer:
    """Prepares media of many jobs at a time, a thread for each. Jobs whose source has no place left wait, and others
    pass them."""

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
        slots = slot_names(services.worker, settings.media_fetches)
        self._places = Places(slots, settings.media_fetches_per_host)
        self._known = dict[str, _Waiting]()
        self._looks_far_at = time.monotonic()
        self._threads = dict[str, threading.Thread]()
        self._ticker = Ticker("media", PASS_SECONDS, self.look)

    def start(self) -> Preparer:
        self._ticker.start()
        return self

    def wake(self) -> None:
        """There may be something to do."""
        self._ticker.wake()

    def stop(self, timeout_seconds: float) -> None:
        """After the drain was asked for: leave when all that is in hand is given back, or after so long."""
        self.request_stop()
        self.join(timeout_seconds)

    def request_stop(self) -> None:
        """Begin with no more."""
        self._ticker.request_stop()

    def join(self, timeout_seconds: float) -> None:
        """Wait for all that is in hand, so long at most altogether."""
        deadline = Deadline(timeout_seconds)
        self._ticker.join(deadline.left_seconds)
        for thread in [*self._threads.values()]:
            thread.join(deadline.left_seconds)

    def look(self) -> None:
        """Begin with as many jobs as there are places for."""
        this_pass = _Pass(self._services)
        for job_id in self._candidates():
            if self._services.drain.is_set() or not self._places.any_free:
                return
            waiting = self._waiting_of(job_id)
            if waiting is None or waiting.source in this_pass.full:
                continue
            if not self._places.has_one_for(waiting.source):
                this_pass.full.add(waiting.source)
            elif this_pass.has_room_for(job_id, waiting.model) and self._begin(job_id, waiting.source):
                this_pass.note_begun(waiting.model)

    def _candidates(self) -> Iterator[str]:
        """Jobs in order, each once, as many as are asked for."""
        seen, limit, most = set[str](), FIRST_LOOK, self._most_looked_at()
        while self._places.any_free:
            found = self._services.store.ready(Lane.PREPARE, "", limit)
            yield from [job_id for job_id in found if job_id not in seen]
            if len(found) < limit or limit >= most:
                return
            seen.update(found)
            limit = min(limit * LOOKS_GROW, most)

    def _most_looked_at(self) -> int:
        """Of a long queue all is looked at now and then only: it costs Redis time, and nobody is hidden for long."""
        if time.monotonic() < self._looks_far_at:
            return MOST_LOOKED_AT
        self._looks_far_at = time.monotonic() + FAR_LOOK_SECONDS
        return sys.maxsize

    def _waiting_of(self, job_id: str) -> _Waiting | None:
        """None for a job that cannot be read."""
        if known := self._known.get(job_id):
            return known
        try:
            spec = self._services.store.get(job_id).spec
        except _OF_ONE_JOB as error:
            logger.debug("%s is left in its queue: %s", job_id, error)
            return None
        if len(self._known) >= JOBS_REMEMBERED:
            self._known.clear()
        waiting = self._known[job_id] = _Waiting(Source.of(spec, self._services.uploads), spec.model)
        return waiting

    def _begin(self, job_id: str, source: Source) -> bool:
        """False where it cannot be had. Whatever is raised, its place and its lease are given back."""
        slot = self._places.take(source)
        lease: Lease | None = None
        try:
            lease = self._services.store.claim(job_id, Lane.PREPARE, slot, self._services.settings.lease_ttl_seconds)
            if lease is not None:
                self._start(lease, slot, source)
                return True
        except _OF_ONE_JOB as error:
            logger.debug("%s is left in its queue: %s", job_id, error)
        except BaseException:
            self._places.give_back(slot, source)
            if lease is not None:
                with suppress(StoreError):  # then it ends by itself
                    self._services.store.release(lease, count_attempt=False)
            raise
        self._places.give_back(slot, source)
        return False

    def _start(self, lease: Lease, slot: str, source: Source) -> None:
        """Raises RuntimeError where this machine can have no more threads."""
        thread = self._new_thread(target=partial(self._work, lease, slot, source), name=f"media-{lease.job_id}")
        thread.daemon = True
        thread.start()
        self._threads[slot] = thread

    def _work(self, lease: Lease, slot: str, source: Source) -> None:
        try:
            MediaPreparer(replace(self._services, worker=slot), self._reader).do(lease)
        except StoreError as error:
            logger.warning("the store fails, %s is left until its lease ends: %s", lease.job_id, error.message)
        except Exception:  # a thread's outermost frame: what happened to the job is recorded
            logger.exception("%s cannot be prepared", lease.job_id)
        finally:
            self._places.give_back(slot, source)
            self._known.pop(lease.job_id, None)
            self._ticker.wake()
