"""ports.Usage and ports.RequestCounts in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date

from core.service.domain.api_keys import KeyLimits
from core.service.domain.ports import Clock
from core.service.domain.schema import JobRecord
from core.service.domain.uploads import Upload
from core.service.domain.usage import (
    KeyUsage,
    check_bytes,
    check_limits,
    day_of,
    is_unfinished,
    new_frames,
    stored_bytes,
)
from core.service.testing.clock import FakeClock


class FakeUsage:
    """ports.Usage in memory. A FakeJobStore and a FakeUploadStore that share one count in it together."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or FakeClock()
        self._unfinished = defaultdict[str, set[str]](set)
        self._bytes_of_jobs = defaultdict[str, dict[str, int]](dict)
        self._bytes_of_uploads = defaultdict[str, dict[str, int]](dict)
        self._frames = Counter[tuple[str, date]]()
        self.complete = True

    def of(self, key_id: str) -> KeyUsage:
        return KeyUsage(
            unfinished_jobs=len(self._unfinished[key_id]),
            frames_today=self._frames[key_id, day_of(self._clock.now())],
            stored_bytes=sum((*self._bytes_of_jobs[key_id].values(), *self._bytes_of_uploads[key_id].values())),
            complete=self.complete,
        )

    def clear(self) -> None:
        """Lose all that is counted, as with Redis. Counted again it is when `complete` is set."""
        self.complete = False
        self._unfinished.clear()
        self._bytes_of_jobs.clear()
        self._bytes_of_uploads.clear()
        self._frames.clear()

    def require_room(self, before: JobRecord | None, after: JobRecord, limits: KeyLimits | None) -> None:
        """Raises LimitReached, UsageUnknown if the owner may not change a job so."""
        if limits is not None and after.owner is not None:
            check_limits(before, after, self.of(after.owner), limits, self._clock.now())

    def require_room_for(self, upload: Upload, limits: KeyLimits | None) -> None:
        """The same for an upload."""
        if limits is not None and upload.owner is not None:
            check_bytes(upload.size_bytes, self.of(upload.owner), limits)

    def write(self, before: JobRecord | None, after: JobRecord) -> None:
        """Count a change of a job."""
        if after.owner is None:
            return
        jobs = self._unfinished[after.owner]
        (jobs.add if is_unfinished(after) else jobs.discard)(after.id)
        self._bytes_of_jobs[after.owner][after.id] = stored_bytes(after)
        day, frames = new_frames(before, after) or (date.min, 0)
        self._frames[after.owner, day] += frames

    def add(self, upload: Upload) -> None:
        """Count an upload."""
        if upload.owner is not None:
            self._bytes_of_uploads[upload.owner][upload.id] = upload.size_bytes

    def remove(self, job: JobRecord) -> None:
        """A job is gone."""
        if job.owner is not None:
            self._unfinished[job.owner].discard(job.id)
            self._bytes_of_jobs[job.owner].pop(job.id, None)

    def remove_upload(self, upload: Upload) -> None:
        """An upload is gone."""
        if upload.owner is not None:
            self._bytes_of_uploads[upload.owner].pop(upload.id, None)


class FakeRequestCounts:
    """ports.RequestCounts in memory."""

    def __init__(self) -> None:
        self.num_reads = 0
        self._counts = Counter[tuple[str, int]]()

    def take(self, key_id: str, window: int, portion: int) -> int:
        self.num_reads += 1
        self._counts[key_id, window] += portion
        return self._counts[key_id, window] - portion
