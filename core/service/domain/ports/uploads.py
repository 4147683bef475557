"""The upload store port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.service.domain.api_keys import KeyLimits
from core.service.domain.uploads import Upload


@dataclass(frozen=True)
class Discarded:
    """The object of a deleted upload, to be removed at once, and again later (`late`) if a file still arrived."""

    upload_id: str
    late: bool


class UploadStore(Protocol):
    """Uploads that clients have requested. Raises StoreError if the store does not answer."""

    def create(self, upload: Upload, limits: KeyLimits | None = None) -> None:
        """Raises LimitReached if its owner has these limits and may not store so many bytes more."""
        ...

    def get(self, upload_id: str) -> Upload:
        """Raises UploadNotFound."""
        ...

    def count(self) -> int: ...

    def client_key(self) -> bytes:
        """Secret of domain.uploads.client_mark: random, created at first use, the same for all processes."""
        ...

    def count_of(self, client: str) -> int:
        """Number of usable uploads of one client (domain.uploads.client_mark)."""
        ...

    def older_than(self, moment: datetime) -> Sequence[Upload]:
        """Uploads created before `moment`, oldest first."""
        ...

    def unsent(self, moment: datetime) -> Sequence[Upload]:
        """Uploads whose URL expired before `moment` and whose file is not known to have arrived."""
        ...

    def sent(self, upload_id: str) -> None:
        """Record that the file of this upload has arrived."""
        ...

    def remove(self, upload_id: str) -> None: ...

    def discard(self, upload_id: str, now: datetime, late: datetime) -> None:
        """Delete an upload for its client. Its object is to be removed now, and again at `late` because its URL may
        still accept a file. Raises UploadNotFound."""
        ...

    def is_discarded(self, upload_id: str) -> bool:
        """Whether the upload was deleted and its object is still to be removed."""
        ...

    def discarded(self, moment: datetime) -> Sequence[Discarded]:
        """Objects due for removal at `moment`."""
        ...

    def forget_discarded(self, discarded: Discarded) -> None: ...
