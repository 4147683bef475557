"""The port of API keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from core.service.domain.api_keys import ApiKey


class ApiKeys(Protocol):
    """The keys of a deployment. They are in the object store as well, so that none is lost with Redis and a revoked one
    never comes back. Raises StoreError, and StorageError where it changes a key or reads lost ones."""

    def get(self, key_id: str) -> ApiKey:
        """Also a revoked key. Raises KeyNotFound."""
        ...

    def list(self) -> Sequence[ApiKey]:
        """All keys, revoked ones too, oldest first."""
        ...

    def create(self, key: ApiKey) -> None: ...

    def change(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
        """Apply `change` to the newest state of the key, again if another process changes it meanwhile. Raises
        KeyNotFound, and what `change` raises."""
        ...
