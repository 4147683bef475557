"""One thread that follows the logs of all jobs that anybody of this process listens to, with one Redis connection.

Each round is one blocking read over all jobs. A job that is new joins with the next round, at most WAIT_SECONDS later;
until then its listeners read its log themselves, so nothing is missed and only a live event may be that much later.
(Waking the reader for it would need CLIENT UNBLOCK, which managed servers refuse, or writes to a Redis that may be
read-only.) After a round the thread rests in proportion to what it cost: however many jobs are followed, that is
a fifth of a core here and a tenth of Redis at most (2,000 jobs: some 20 ms). What it finds is rendered
here, once for all listeners. Knows no listener.

A Redis that is away is waited for. A job whose keys cannot be read is left out for a while: it must not end the others.
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
"""One blocking read."""
REST = 4.0
"""Times the processor time of a round."""
REST_OF_JOB_SECONDS = 1e-5
"""For each followed job: Redis works on a round for a tenth of the time at most."""
IDLE_SECONDS = 5.0
"""Without a job to follow for so long, the thread ends; the next job starts one."""
LEFT_OUT_SECONDS = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Update:
    """What is new of one job. Its log ends with `head`; `page` is what came since the head before."""

    job_id: str
    head: str | None = None
    page: Page | None = None
    progress: Mapping[Lane, str] = field(default_factory=lambda: {})
    """Last report by lane, as text."""


class LogReader:
    """`tell` is called in the thread with what a round found; it answers False where nobody can hear it any more."""

    def __init__(self, ports: Ports, tell: Callable[[Sequence[Update]], bool], retry_seconds: float) -> None:
        self._ports = ports
        self._tell = tell
        self._retry_seconds = retry_seconds
        self._changed = threading.Condition()
        self._wanted = set[str]()
        self._new = set[str]()
        self._thread: threading.Thread | None = None
        # The rest is the thread's own.
        self._positions: dict[str, LogPosition] = {}
        self._left_out: dict[str, float] = {}
        self._is_away = False

    def follow(self, job_id: str) -> None:
        with self._changed:
            self._wanted.add(job_id)
            self._new.add(job_id)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-reader", daemon=True)
                self._thread.start()

    def leave(self, job_id: str) -> None:
        with self._changed:
            self._wanted.discard(job_id)

    def _run(self) -> None:
        while wanted := self._jobs():
            began = time.thread_time()
            try:
                heard = self._round(wanted)
            except Exception:  # the thread's outermost frame: a bug with one job must not end all streams
                _log.exception("the reader of event logs goes on after a bug")
                heard = True
                time.sleep(self._retry_seconds)
            if not heard:
                self._give_up()
            rest = max(REST * (time.thread_time() - began), REST_OF_JOB_SECONDS * len(wanted))
            time.sleep(min(WAIT_SECONDS, rest))

    def _jobs(self) -> frozenset[str]:
        """The jobs to follow, waited for; none, and the thread given up, where nobody has wanted any for a while."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted, IDLE_SECONDS)
            if not self._wanted:
                self._thread = None
            new, self._new = self._new, set()
            wanted = frozenset(self._wanted)
            # Who comes anew to a job that was followed a moment ago must be told where it stands.
            self._positions = {job: at for job, at in self._positions.items() if job in wanted and job not in new}
            return wanted

    def _give_up(self) -> None:
        with self._changed:
            self._wanted.clear()

    def _round(self, wanted: frozenset[str]) -> bool:
        try:
            joined = self._join(wanted)
            if joined and not self._tell(joined):
                return False
            news = self._ports.events.follow(self._positions, WAIT_SECONDS) if self._positions else ()
        except StoreDamaged as error:
            self._leave_out(wanted, error)
            return True
        except StoreError as error:
            self._wait_for_redis(error)
            return True
        self._positions.update({one.job_id: one.position for one in news})
        if self._is_away:
            _log.info("event streams go on")
            self._is_away = False
        return self._tell([self._update(one) for one in news]) if news else True

    def _join(self, wanted: frozenset[str]) -> list[Update]:
        """Follow new jobs, too; where they stand."""
        now = time.monotonic()
        self._left_out = {job_id: until for job_id, until in self._left_out.items() if until > now}
        new = wanted - self._positions.keys() - self._left_out.keys()
        found = self._ports.events.newest(new) if new else {}
        self._positions.update(found)
        return [Update(job_id, head=position.event) for job_id, position in found.items()]

    def _update(self, news: JobUpdates) -> Update:
        progress = {report.lane: progress_text(report) for report in news.progress}
        if not news.events:
            return Update(news.job_id, progress=progress)
        return Update(news.job_id, news.events[-1].id, page_of(news.events), progress)

    def _wait_for_redis(self, error: StoreError) -> None:
        if not self._is_away:
            _log.warning("event streams wait: %s", error)
        self._is_away = True
        time.sleep(self._retry_seconds)

    def _leave_out(self, wanted: frozenset[str], error: StoreDamaged) -> None:
        """Find the jobs whose keys cannot be read, one by one."""
        for job_id in wanted - self._left_out.keys():
            try:
                self._ports.events.newest([job_id])
            except StoreDamaged:
                _log.error("events of %s cannot be followed: %s", job_id, error)
                self._left_out[job_id] = time.monotonic() + LEFT_OUT_SECONDS
                self._positions.pop(job_id, None)
            except StoreError as away:
                self._wait_for_redis(away)
                return
        time.sleep(self._retry_seconds)
