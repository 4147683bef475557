"""How an API key is made and changed: pure functions, which ports.ApiKeys.change applies."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.service.domain.api_keys import ApiKey, KeyLimits, NewKey, RetiredSecret, Scope, digest_of
from core.service.domain.errors import KeyRevoked
from core.service.domain.key_schema import KeyChange, KeyRequest
from core.service.domain.webhook_secret import generate_secret


def key_of(wanted: KeyRequest, new: NewKey, now: datetime) -> ApiKey:
    """The key that is asked for, with a webhook secret of its own."""
    return ApiKey(
        id=new.id,
        name=wanted.name,
        scope=Scope(wanted.scope),
        text_sha256=digest_of(new.text),
        limits=KeyLimits(**wanted.limits.model_dump()),
        webhook_secret=generate_secret(),
        created_at=now,
    )


def revoked(key: ApiKey, now: datetime) -> ApiKey:
    """The key, which is not valid from now on; a revoked one is unchanged."""
    return key if key.revoked_at else key.model_copy(update={"revoked_at": now})


def changed(key: ApiKey, change: KeyChange) -> ApiKey:
    """The key with another name, scope or limits. Raises KeyRevoked."""
    given = change.model_dump(exclude_unset=True)
    scope = Scope(given.get("scope", key.scope))
    limits = key.limits.model_copy(update=given.get("limits"))
    return _valid(key).model_copy(update={"name": given.get("name", key.name), "scope": scope, "limits": limits})


def rotated(key: ApiKey, text: str, now: datetime, grace_seconds: int) -> ApiKey:
    """The key with a new text; the newest old one stays valid for `grace_seconds`. A key that has the text already is
    unchanged: a change may be applied twice. Raises KeyRevoked."""
    update = {"text_sha256": digest_of(text), "retired_text": _retired(key.text_sha256, now, grace_seconds)}
    return _valid(key) if key.text_sha256 == digest_of(text) else _valid(key).model_copy(update=update)


def with_webhook_secret(key: ApiKey, secret: str, now: datetime, grace_seconds: int) -> ApiKey:
    """The key with a new webhook secret; the newest old one also signs for `grace_seconds`. A key that has the secret
    already is unchanged. Raises KeyRevoked."""
    update = {"webhook_secret": secret, "retired_webhook_secret": _retired(key.webhook_secret, now, grace_seconds)}
    return _valid(key) if key.webhook_secret == secret else _valid(key).model_copy(update=update)


def _retired(value: str, now: datetime, grace_seconds: int) -> RetiredSecret | None:
    return RetiredSecret(value=value, valid_until=now + timedelta(seconds=grace_seconds)) if grace_seconds else None


def _valid(key: ApiKey) -> ApiKey:
    if key.revoked_at is not None:
        raise KeyRevoked(f"the API key {key.id} is revoked", fix="create another one: POST /keys")
    return key
