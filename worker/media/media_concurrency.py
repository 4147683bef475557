"""Fetch slots of a CPU worker: limited per host, domain and client, so no source has them all."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.service.domain.errors import StoreDamaged, UploadNotFound
from core.service.domain.ids import is_upload_id
from core.service.domain.ports import UploadStore
from core.service.domain.schema import JobRecord, JobSpec
from core.service.domain.transitions import awaits_copies
from core.service.net.resolver import domain_of
from worker.media.input_media import input_media_of

HOSTS_PER_DOMAIN = 2
"""A domain may use as many slots as so many of its hosts: an attacker can make host names in a domain for free."""
_UNKNOWN_CLIENT = ""
"""Client of all uploads whose entry was deleted or lost."""


@dataclass(frozen=True)
class Source:
    """Origin of input media: host and domain of a URL (an IP address is its own domain), or client of an upload."""

    is_upload: bool
    host: str
    domain: str

    @staticmethod
    def of_job(record: JobRecord, uploads: UploadStore) -> Source:
        """The source of what is prepared for a job: its input media, or the job whose chunks it shares. Raises
        StoreError."""
        if awaits_copies(record) and record.branched_from is not None:
            job_id = record.branched_from.job_id
            return Source(is_upload=False, host=job_id, domain=job_id)
        return Source.of(record.spec, uploads)

    @staticmethod
    def of(spec: JobSpec, uploads: UploadStore) -> Source:
        """The source of a job's input media. Raises StoreError."""
        reference = input_media_of(spec).reference
        if not is_upload_id(reference):
            return Source.of_host(urlsplit(reference).hostname or "")
        client = _client_of(reference, uploads)
        return Source(is_upload=True, host=client, domain=client)

    @staticmethod
    def of_host(host: str) -> Source:
        return Source(is_upload=False, host=host, domain=domain_of(host) or host)

    @property
    def owner(self) -> str:
        """The key by which decoders and disk space are shared."""
        return f"{'client' if self.is_upload else 'domain'} {self.domain}"


def _client_of(upload_id: str, uploads: UploadStore) -> str:
    """The client of an upload; the upload id if the entry has none (older versions).

    All deleted uploads count as one client: otherwise a client could take all slots by deleting its uploads.
    """
    try:
        return uploads.get(upload_id).client or upload_id
    except StoreDamaged:
        return upload_id
    except UploadNotFound:
        return _UNKNOWN_CLIENT


class FetchSlots:
    """Slots in use, by source. Limited per host, domain and client; neither uploads nor URLs can take them all."""

    def __init__(self, slots: Sequence[str], per_host: int) -> None:
        self._free = list(reversed(slots))
        self._per_host = per_host
        self._per_kind = max(1, len(slots) - len(slots) // 4)
        self._taken = Counter[Source]()
        self._lock = threading.Lock()

    @property
    def any_free(self) -> bool:
        return bool(self._free)

    def has_slot_for(self, source: Source) -> bool:
        with self._lock:
            same_kind = self._count(source.is_upload)
            same_domain = self._count(source.is_upload, source.domain)
            return (
                bool(self._free)
                and same_kind < self._per_kind
                and self._taken[source] < self._per_host
                and same_domain < HOSTS_PER_DOMAIN * self._per_host
            )

    def _count(self, is_upload: bool, domain: str | None = None) -> int:
        return sum(
            count
            for taken, count in self._taken.items()
            if taken.is_upload == is_upload and domain in {None, taken.domain}
        )

    def take(self, source: Source) -> str:
        """Take a slot; its name."""
        with self._lock:
            self._taken[source] += 1
            return self._free.pop()

    def give_back(self, slot: str, source: Source) -> None:
        with self._lock:
            self._taken[source] -= 1
            if not self._taken[source]:
                del self._taken[source]
            self._free.append(slot)
