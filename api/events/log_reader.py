"""One thread that follows the event logs of all jobs that have listeners, with one Redis connection.

Each round is one blocking read of all jobs. A new job joins with the next round, at most WAIT_SECONDS later; until then
its listeners read its log themselves, so nothing is missed and only a live event may be that late. (Waking the reader
would need CLIENT UNBLOCK, which managed servers refuse, or writes to a Redis that may be read-only.) After a round the
thread pauses in proportion to its cost: at most a fifth of a core here and a tenth of Redis, however many jobs are
followed (2,000 jobs: about 20 ms). Events are rendered here, once for all listeners.

During an outage of Redis the thread retries. A job whose keys are unreadable is skipped for a while, so that it does
not stop the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from api.backends.ports import Ports
from api.events.text import Page, page_of, progress_text
from core.service.domain.errors import StoreDamaged, StoreError
from core.service.domain.ports import JobUpdates, LogPosition
from core.service.domain.schema import Lane

WAIT_SECONDS = 0.25
"""Of one blocking read."""
PAUSE_FACTOR = 4.0
"""Pause after a round, in multiples of its CPU time."""
PAUSE_PER_JOB_SECONDS = 1e-5
"""Minimum pause for each followed job, so that Redis spends at most a tenth of the time on it."""
IDLE_SECONDS = 5.0
"""Without jobs for so long the thread ends; the next job starts a new one."""
SKIP_SECONDS = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Update:
    """What is new of one job. Its log ends with event id `head`; `page` has the events since the head before."""

    job_id: str
    head: str | None = None
    page: Page | None = None
    progress: Mapping[Lane, str] = field(default_factory=lambda: {})
    """The last report of each lane, as text."""


class LogReader:
    """`publish` is called in the thread with the updates of a round; it returns False if the receiver is gone."""

    def __init__(self, ports: Ports, publish: Callable[[Sequence[Update]], bool], retry_seconds: float) -> None:
        self._ports = ports
        self._publish = publish
        self._retry_seconds = retry_seconds
        self._changed = threading.Condition()
        self._wanted = set[str]()
        self._new = set[str]()
        self._thread: threading.Thread | None = None
        # Below: used by the thread only.
        self._positions: dict[str, LogPosition] = {}
        self._skipped_until: dict[str, float] = {}
        self._is_away = False

    def follow(self, job_id: str) -> None:
        with self._changed:
            self._wanted.add(job_id)
            self._new.add(job_id)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-reader", daemon=True)
                self._thread.start()

    def unfollow(self, job_id: str) -> None:
        with self._changed:
            self._wanted.discard(job_id)

    def _run(self) -> None:
        while wanted := self._jobs():
            began = time.thread_time()
            try:
                published = self._round(wanted)
            except Exception:  # the thread's outermost frame: a bug with one job must not end all streams
                _log.exception("the event log reader continues after an unexpected error")
                published = True
                time.sleep(self._retry_seconds)
            if not published:
                self._unfollow_all()
            pause = max(PAUSE_FACTOR * (time.thread_time() - began), PAUSE_PER_JOB_SECONDS * len(wanted))
            time.sleep(min(WAIT_SECONDS, pause))

    def _jobs(self) -> frozenset[str]:
        """Wait for jobs to follow. Empty after IDLE_SECONDS without any: then the thread must end."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted, IDLE_SECONDS)
            if not self._wanted:
                self._thread = None
            new, self._new = self._new, set()
            wanted = frozenset(self._wanted)
            # The head of a job must be published again for listeners that are new since it was last followed.
            self._positions = {job: at for job, at in self._positions.items() if job in wanted and job not in new}
            return wanted

    def _unfollow_all(self) -> None:
        with self._changed:
            self._wanted.clear()

    def _round(self, wanted: frozenset[str]) -> bool:
        try:
            joined = self._join(wanted)
            if joined and not self._publish(joined):
                return False
            updates = self._ports.events.follow(self._positions, WAIT_SECONDS) if self._positions else ()
        except StoreDamaged as error:
            self._skip_damaged(wanted, error)
            return True
        except StoreError as error:
            self._wait_for_redis(error)
            return True
        self._positions.update({one.job_id: one.position for one in updates})
        if self._is_away:
            _log.info("event streams continue")
            self._is_away = False
        return self._publish([self._update(one) for one in updates]) if updates else True

    def _join(self, wanted: frozenset[str]) -> list[Update]:
        """Start to follow new jobs; returns their heads."""
        now = time.monotonic()
        self._skipped_until = {job_id: until for job_id, until in self._skipped_until.items() if until > now}
        new = wanted - self._positions.keys() - self._skipped_until.keys()
        found = self._ports.events.newest(new) if new else {}
        self._positions.update(found)
        return [Update(job_id, head=position.event) for job_id, position in found.items()]

    def _update(self, updates: JobUpdates) -> Update:
        progress = {report.lane: progress_text(report) for report in updates.progress}
        if not updates.events:
            return Update(updates.job_id, progress=progress)
        return Update(updates.job_id, updates.events[-1].id, page_of(updates.events), progress)

    def _wait_for_redis(self, error: StoreError) -> None:
        if not self._is_away:
            _log.warning("event streams wait: %s", error)
        self._is_away = True
        time.sleep(self._retry_seconds)

    def _skip_damaged(self, wanted: frozenset[str], error: StoreDamaged) -> None:
        """Find the jobs with unreadable keys, one by one."""
        for job_id in wanted - self._skipped_until.keys():
            try:
                self._ports.events.newest([job_id])
            except StoreDamaged:
                _log.error("events of %s cannot be followed: %s", job_id, error)
                self._skipped_until[job_id] = time.monotonic() + SKIP_SECONDS
                self._positions.pop(job_id, None)
            except StoreError as outage:
                self._wait_for_redis(outage)
                return
        time.sleep(self._retry_seconds)
