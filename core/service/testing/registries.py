"""ports.WorkerRegistry and ports.UploadStore in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import UploadNotFound
from core.service.domain.ports import Clock, Discarded, WorkerStatus
from core.service.domain.uploads import Upload
from core.service.testing.clock import FakeClock
from core.service.testing.usage import FakeUsage


class FakeWorkerRegistry:
    """ports.WorkerRegistry in memory."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or FakeClock()
        self._entries: dict[str, tuple[WorkerStatus, datetime]] = {}

    def report(self, status: WorkerStatus, ttl_seconds: float) -> None:
        self._entries[status.name] = (status, self._clock.now() + timedelta(seconds=ttl_seconds))

    def remove(self, name: str) -> None:
        self._entries.pop(name, None)

    def all(self) -> Sequence[WorkerStatus]:
        now = self._clock.now()
        return [status for _, (status, until) in sorted(self._entries.items()) if until > now]


class FakeUploadStore:
    """ports.UploadStore in memory."""

    def __init__(self, clock: Clock | None = None, usage: FakeUsage | None = None) -> None:
        self._clock = clock or FakeClock()
        self._usage = usage or FakeUsage(self._clock)
        self._uploads: dict[str, Upload] = {}
        self._unsent: set[str] = set()
        self._discarded: dict[Discarded, datetime] = {}

    def create(self, upload: Upload, limits: KeyLimits | None = None) -> None:
        self._usage.require_room_for(upload, limits)
        self._usage.add(upload)
        self._uploads[upload.id] = upload
        self._unsent.add(upload.id)

    def get(self, upload_id: str) -> Upload:
        if upload_id not in self._uploads:
            raise UploadNotFound(f"there is no upload {upload_id}")
        return self._uploads[upload_id]

    def count(self) -> int:
        return len(self._uploads)

    def older_than(self, moment: datetime) -> Sequence[Upload]:
        old = [upload for upload in self._uploads.values() if upload.created_at < moment]
        return sorted(old, key=lambda upload: upload.created_at)

    def client_key(self) -> bytes:
        return b"a key of tests"

    def count_of(self, client: str) -> int:
        now = self._clock.now()
        return sum(upload.client == client and upload.expires_at > now for upload in self._uploads.values())

    def unsent(self, moment: datetime) -> Sequence[Upload]:
        found = [self._uploads[one] for one in self._unsent]
        return [upload for upload in found if upload.url_expires_at is not None and upload.url_expires_at < moment]

    def sent(self, upload_id: str) -> None:
        self._unsent.discard(upload_id)

    def remove(self, upload_id: str) -> None:
        if upload_id in self._uploads:
            self._usage.remove_upload(self._uploads.pop(upload_id))
        self._unsent.discard(upload_id)

    def discard(self, upload_id: str, now: datetime, late: datetime) -> None:
        self.get(upload_id)
        self.remove(upload_id)
        self._discarded |= {Discarded(upload_id, late=False): now, Discarded(upload_id, late=True): late}

    def is_discarded(self, upload_id: str) -> bool:
        return any(one.upload_id == upload_id for one in self._discarded)

    def discarded(self, moment: datetime) -> Sequence[Discarded]:
        return [one for one, at in self._discarded.items() if at <= moment]

    def forget_discarded(self, discarded: Discarded) -> None:
        self._discarded.pop(discarded, None)
