"""Customers of a deployment with API keys: their keys and the header that they send."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from core.service.domain.api_keys import ApiKey, KeyLimits, NewKey, Scope, new_key
from core.service.domain.key_changes import key_of, revoked
from core.service.domain.key_schema import KeyRequest
from core.service.domain.ports import ApiKeys
from core.service.settings import Settings
from core.service.testing.clock import FAKE_START

ADMIN_KEY = "the-key-of-the-operator-in-all-tests"


def with_keys(settings: Settings) -> Settings:
    """The same deployment, where every request needs a key."""
    return settings.model_copy(update={"admin_key": SecretStr(ADMIN_KEY)})


def bearer(text: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"Authorization": f"Bearer {text}"}


def stored_key(new: NewKey | None = None, scope: Scope = Scope.JOBS, age_seconds: int = 0, **limits: Any) -> ApiKey:
    """A customer's key."""
    asked = KeyRequest.model_validate({"name": "Example Ltd", "scope": scope.value})
    made = key_of(asked, new or new_key(), FAKE_START - timedelta(seconds=age_seconds))
    return made.model_copy(update={"limits": KeyLimits(**limits)})


def customer(keys: ApiKeys, scope: Scope = Scope.JOBS, *, is_revoked: bool = False, **limits: Any) -> NewKey:
    """Id and text of a new key in the store."""
    new = new_key()
    key = stored_key(new, scope, **limits)
    keys.create(revoked(key, FAKE_START) if is_revoked else key)
    return new
