"""The port of API keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from core.service.domain.api_keys import ApiKey


class ApiKeys(Protocol):
    """The keys of a deployment. They are in the object store as well, so that none is lost with Redis and a revoked one
    never comes back. Raises StoreError, and StorageError where it changes a key or reads lost ones."""

    def get(self, key_id: str) -> ApiKey:
        """Also a revoked key. Raises KeyNotFound, and StoreDamaged if this version cannot read the key."""
        ...

    def find(self, key_ids: Sequence[str]) -> Sequence[ApiKey | None]:
        """`get` for each id; None where there is no such key, or one that this version cannot read."""
        ...

    def list(self) -> Sequence[ApiKey]:
        """All keys that this version can read, revoked ones too, oldest first."""
        ...

    def create(self, key: ApiKey) -> None:
        """Keep a new key. Its id must be new."""
        ...

    def change(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
        """Apply `change` to the newest state of the key, again if another process changes it meanwhile. Raises what
        `get` raises, and what `change` raises."""
        ...
