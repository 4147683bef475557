"""ports.ApiKeys in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.service.domain.api_keys import ApiKey
from core.service.domain.errors import KeyNotFound


class FakeApiKeys:
    """ports.ApiKeys in memory."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    def get(self, key_id: str) -> ApiKey:
        try:
            return self._keys[key_id]
        except KeyError:
            raise KeyNotFound(f"there is no API key {key_id}") from None

    def find(self, key_ids: Sequence[str]) -> Sequence[ApiKey | None]:
        return [self._keys.get(key_id) for key_id in key_ids]

    def list(self) -> Sequence[ApiKey]:
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    def create(self, key: ApiKey) -> None:
        self._keys[key.id] = key

    def change(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
        self._keys[key_id] = change(self.get(key_id))
        return self._keys[key_id]
