"""The upload store port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.service.domain.uploads import Upload


@dataclass(frozen=True)
class Discarded:
    """The object of a deleted upload, to be removed for the first time or once more."""

    upload_id: str
    late: bool


class UploadStore(Protocol):
    """What clients said they would upload. Raises StoreError where the store does not answer."""

    def create(self, upload: Upload) -> None: ...

    def get(self, upload_id: str) -> Upload:
        """Raises UploadNotFound."""
        ...

    def count(self) -> int: ...

    def client_key(self) -> bytes:
        """The secret of media.uploads.client_mark: random, made at its first use, the same for all processes."""
        ...

    def count_of(self, client: str) -> int:
        """Those of one client (media.uploads.client_mark) that can still be used."""
        ...

    def older_than(self, moment: datetime) -> Sequence[Upload]:
        """Uploads that were created before `moment`, oldest first."""
        ...

    def unsent(self, moment: datetime) -> Sequence[Upload]:
        """Uploads whose URL has ended before `moment` and of which it is not known whether their file was sent."""
        ...

    def sent(self, upload_id: str) -> None:
        """The file of this upload is there."""
        ...

    def remove(self, upload_id: str) -> None: ...

    def discard(self, upload_id: str, now: datetime, late: datetime) -> None:
        """Its client has deleted it: from now on it is none. Its object is to go now, and again at `late`, for the URL
        may still take a file. Raises UploadNotFound."""
        ...

    def is_discarded(self, upload_id: str) -> bool:
        """Whether its object is still to go."""
        ...

    def discarded(self, moment: datetime) -> Sequence[Discarded]:
        """Objects that are to go until `moment`."""
        ...

    def forget_discarded(self, discarded: Discarded) -> None: ...
