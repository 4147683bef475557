"""The prepare lane: fetches and decodes what a job begins with before a worker with an engine is asked for it.

MediaPreparer does it for one job as any lane does its pieces. Preparer gives places in a CPU worker to jobs, so that no
host, however slow, and neither uploads nor URLs have all of them. Over ports only; given.py
sees to the bytes.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from core.service.engine import GivenMedia
from core.service.errors import JobNotFound, MediaError, MediaFetchFailed, StoreDamaged, StoreError, UrlRefused
from core.service.manifest import input_key
from core.service.media.uploads import is_upload_id
from core.service.ports import Lease
from core.service.schema import JobRecord, Lane, PreparedMedia
from worker.endings import wake, write_manifest
from worker.given import GivenReader, given_of
from worker.lane import STATE_TYPE, LaneWorker, Outcome
from worker.lease_keeper import LeaseKeeper
from worker.leaving import Deadline
from worker.names import slot_names
from worker.own_disk import is_disk_trouble
from worker.services import Services
from worker.ticker import Ticker

logger = logging.getLogger(__name__)

PASS_SECONDS = 1.0
"""Pause between two looks for jobs: a message wakes one CPU worker, and its places may all be taken."""
FIRST_LOOK, LOOKS_GROW = 32, 8
"""Jobs looked at in one pass, and how much further it looks where all of them have to wait for their hosts."""
HOSTS_REMEMBERED = 20_000
_SHORT_OF = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE})
"""What this machine may be short of when a process is to be started."""


class MediaPreparer(LaneWorker[GivenMedia]):
    """Prepares the media of jobs of any model, one at a time."""

    lane = Lane.PREPARE
    ends_workers = False  # what strangers have made is decoded elsewhere, and jobs in work beside it are not to blame
    failure_code = "prepare_error"
    states_remembered = 0

    def __init__(self, services: Services, reader: GivenReader) -> None:
        super().__init__(services, "")
        self._reader = reader

    def _next_piece(self, record: JobRecord) -> str:
        return f"preparing the {given_of(record.spec)[0]}"

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        services = self._services
        key, check = input_key(record.id, lease.token), self._check_often(keeper)
        with self._reader.reading(record.spec, check, self._pause(keeper)) as pixels:
            # From the file: many may be on their way at a time, and a picture has up to 120 MB.
            self._call(partial(services.storage.put_file, key, pixels.file, STATE_TYPE), keeper).result(check)
        prepared = PreparedMedia(key=key, sha256=pixels.sha256, at=services.clock.now())
        ready = self._patiently(lambda: services.store.commit_prepare(lease, prepared, pixels.warnings), keeper)
        write_manifest(services, ready)
        logger.info("%s: what it begins with is ready", record.id)
        return ready

    def _pass_on(self, record: JobRecord) -> None:
        wake(self._services, record)

    def _failed(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> Outcome:
        """Of unusable media only a server that did not answer may do so at the next try; all else fails the job now."""
        if isinstance(error, OSError) and error.errno in _SHORT_OF:
            logger.error("%s: this machine: %r", record.id, error)
            return self._put_off(lease)
        if is_disk_trouble(error) or not isinstance(error, MediaError | UrlRefused):
            return super()._failed(record, lease, error, keeper)
        if not isinstance(error, MediaFetchFailed):
            return self._failed_for_good(record, lease, error)
        self._count_failure(record, lease, error, keeper)
        return Outcome.FAILED


@dataclass(frozen=True)
class Source:
    """Where a job's media comes from; `host` is None for an upload."""

    host: str | None

    @staticmethod
    def of(record: JobRecord) -> Source:
        _, reference = given_of(record.spec)
        return Source(None if is_upload_id(reference) else urlsplit(reference).hostname or "")


class Places:
    """Who has the places: at most so many for one host, and neither uploads nor URLs have them all."""

    def __init__(self, slots: Sequence[str], per_host: int) -> None:
        self._free = list(reversed(slots))
        self._per_host = per_host
        self._per_kind = max(1, len(slots) - len(slots) // 4)
        self._taken = Counter[Source]()
        self._lock = threading.Lock()

    @property
    def any_free(self) -> bool:
        return bool(self._free)

    def has_one_for(self, source: Source) -> bool:
        with self._lock:
            same_kind = sum(
                count for taken, count in self._taken.items() if (taken.host is None) == (source.host is None)
            )
            mine = self._per_kind if source.host is None else self._per_host
            return bool(self._free) and same_kind < self._per_kind and self._taken[source] < mine

    def take(self, source: Source) -> str:
        """The slot."""
        with self._lock:
            self._taken[source] += 1
            return self._free.pop()

    def give_back(self, slot: str, source: Source) -> None:
        with self._lock:
            self._taken[source] -= 1
            if not self._taken[source]:
                del self._taken[source]
            self._free.append(slot)


class Preparer:
    """Prepares media of many jobs at a time, a thread for each. Jobs whose source has no place left wait, and others
    pass them."""

    def __init__(self, services: Services, reader: GivenReader | None = None) -> None:
        self._services = services
        self._reader = reader or GivenReader(services)
        settings = services.settings
        slots = slot_names(services.worker, settings.media_fetches)
        self._places = Places(slots, settings.media_fetches_per_host)
        self._sources = dict[str, Source]()
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
        self.tell_to_stop()
        self.join(timeout_seconds)

    def tell_to_stop(self) -> None:
        """Begin with no more."""
        self._ticker.tell_to_stop()

    def join(self, timeout_seconds: float) -> None:
        """Wait for all that is in hand, so long at most altogether."""
        deadline = Deadline(timeout_seconds)
        self._ticker.join(deadline.left_seconds)
        for thread in [*self._threads.values()]:
            thread.join(deadline.left_seconds)

    def look(self) -> None:
        """Begin with as many jobs as there are places for."""
        for job_id in self._candidates():
            if self._services.drain.is_set() or not self._places.any_free:
                return
            source = self._source_of(job_id)
            if source is not None and self._places.has_one_for(source):
                self._begin(job_id, source)

    def _candidates(self) -> Iterator[str]:
        """Jobs in order, each once, as many as are asked for."""
        seen, limit = set[str](), FIRST_LOOK
        while self._places.any_free:
            found = self._services.store.ready(Lane.PREPARE, "", limit)
            yield from [job_id for job_id in found if job_id not in seen]
            if len(found) < limit:
                return
            seen.update(found)
            limit *= LOOKS_GROW

    def _source_of(self, job_id: str) -> Source | None:
        """None for a job that cannot be read."""
        if job_id not in self._sources:
            if len(self._sources) >= HOSTS_REMEMBERED:
                self._sources.clear()
            try:
                self._sources[job_id] = Source.of(self._services.store.get(job_id))
            except (JobNotFound, StoreDamaged) as error:
                logger.debug("%s is left in its queue: %s", job_id, error)
                return None
        return self._sources[job_id]

    def _begin(self, job_id: str, source: Source) -> None:
        slot = self._places.take(source)
        try:
            lease = self._services.store.claim(job_id, Lane.PREPARE, slot, self._services.settings.lease_ttl_seconds)
        except (JobNotFound, StoreDamaged):
            lease = None
        except StoreError:
            self._places.give_back(slot, source)
            raise
        if lease is None:
            self._places.give_back(slot, source)
            return
        thread = threading.Thread(target=self._work, args=(lease, slot, source), name=f"media-{job_id}", daemon=True)
        self._threads[slot] = thread
        thread.start()

    def _work(self, lease: Lease, slot: str, source: Source) -> None:
        try:
            MediaPreparer(replace(self._services, worker=slot), self._reader).do(lease)
        except StoreError as error:
            logger.warning("the store fails, %s is left until its lease ends: %s", lease.job_id, error.message)
        except Exception:  # a thread's outermost frame: what happened to the job is recorded
            logger.exception("%s cannot be prepared", lease.job_id)
        finally:
            self._places.give_back(slot, source)
            self._sources.pop(lease.job_id, None)
            self._ticker.wake()
