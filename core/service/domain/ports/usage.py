"""The ports of what API keys use of their limits."""

from __future__ import annotations

from typing import Protocol

from core.service.domain.usage import KeyUsage


class Usage(Protocol):
    """What keys use. The job store and the upload store count it, in the transactions that write jobs and uploads.
    Raises StoreError."""

    def of(self, key_id: str) -> KeyUsage:
        """What the key uses now; nothing if there is no such key. One round trip."""
        ...


class RequestCounts(Protocol):
    """Requests of keys, counted for all API processes. Raises StoreError."""

    def take(self, key_id: str, window: int, portion: int) -> int:
        """Count `portion` further requests in a window (its number). Returns how many were counted in it before. One
        round trip."""
        ...
