"""How an API key is made and changed: pure functions, which ports.ApiKeys.change applies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.service.domain.api_keys import ApiKey, KeyLimits, NewKey, RetiredSecret, Scope, digest_of
from core.service.domain.errors import KeyRevoked
from core.service.domain.key_schema import KeyChange, KeyRequest
from core.service.domain.webhook_secret import generate_secret

NEVER = datetime.max.replace(tzinfo=UTC)
"""When a secret ends that has no end."""


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
    return key if key.revoked_at else _updated(key, revoked_at=now)


def changed(key: ApiKey, change: KeyChange) -> ApiKey:
    """The key with another name, scope or limits. Raises KeyRevoked."""
    given = change.model_dump(exclude_unset=True)
    return _updated(
        _valid(key),
        name=given.get("name", key.name),
        scope=Scope(given.get("scope", key.scope)),
        limits=key.limits.model_copy(update=given.get("limits")),
    )


def rotated(key: ApiKey, text: str, now: datetime, grace_seconds: int) -> ApiKey:
    """The key with a new text; the newest old one stays valid for `grace_seconds`. A key that has the text already is
    unchanged: a change may be applied twice. Raises KeyRevoked."""
    if _valid(key).text_sha256 == digest_of(text):
        return key
    retired = _retired(key.text_sha256, now, grace_seconds)
    return _updated(key, text_sha256=digest_of(text), retired_text=retired)


def with_webhook_secret(key: ApiKey, secret: str, now: datetime, grace_seconds: int) -> ApiKey:
    """The key with a new webhook secret; the newest old one also signs for `grace_seconds`. A key that has the secret
    already is unchanged. Raises KeyRevoked."""
    if _valid(key).webhook_secret == secret:
        return key
    retired = _retired(key.webhook_secret, now, grace_seconds)
    return _updated(key, webhook_secret=secret, retired_webhook_secret=retired)


def undecided(settled: ApiKey, newer: ApiKey) -> ApiKey:
    """The key of which nobody knows whether `newer` took the place of `settled`: as `newer`, but with the texts and
    webhook secrets of both, without an end, until its next rotation."""
    update = {
        "text_sha256": settled.text_sha256,
        "retired_text": settled.retired_text,
        "webhook_secret": settled.webhook_secret,
        "retired_webhook_secret": settled.retired_webhook_secret,
    }
    if newer.text_sha256 != settled.text_sha256:
        update["retired_text"] = RetiredSecret(value=newer.text_sha256, valid_until=NEVER)
    if newer.webhook_secret != settled.webhook_secret:
        update["retired_webhook_secret"] = RetiredSecret(value=newer.webhook_secret, valid_until=NEVER)
    return newer.model_copy(update=update)


def _updated(key: ApiKey, **update: object) -> ApiKey:
    """Its next revision; the same one if nothing is different."""
    after = key.model_copy(update=update)
    return key if after == key else after.model_copy(update={"revision": key.revision + 1})


def _retired(value: str, now: datetime, grace_seconds: int) -> RetiredSecret | None:
    return RetiredSecret(value=value, valid_until=now + timedelta(seconds=grace_seconds)) if grace_seconds else None


def _valid(key: ApiKey) -> ApiKey:
    if key.revoked_at is not None:
        raise KeyRevoked(f"the API key {key.id} is revoked", fix="create another one: POST /keys")
    return key
