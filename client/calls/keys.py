"""Calls that manage API keys."""

from __future__ import annotations

from client.calls.call import Call, given, nothing, reads
from client.models import Key, KeyLimits, KeyList, KeyScope, NewKey, NewWebhookSecret
from client.responses import read_model


def create(name: str, scope: KeyScope, limits: KeyLimits | None) -> Call[NewKey]:
    """POST /keys: reads the new key with its text. `limits` of None: only those of the deployment."""
    return Call("POST", "/keys", reads(NewKey), {"json": given(name=name, scope=scope, limits=limits)})


def all_keys() -> Call[tuple[Key, ...]]:
    """GET /keys: oldest first, revoked ones too."""
    return Call("GET", "/keys", lambda response: tuple(read_model(response, KeyList).keys))


def get(key_id: str) -> Call[Key]:
    """GET /keys/{key_id}: a key and what it uses of its limits."""
    return Call("GET", f"/keys/{key_id}", reads(Key))


def current() -> Call[Key]:
    """GET /key: the caller's own key."""
    return Call("GET", "/key", reads(Key))


def change(key_id: str, name: str | None, scope: KeyScope | None, limits: KeyLimits | None) -> Call[Key]:
    """PATCH /keys/{key_id}. None leaves a name, scope or all limits as they are; a limit of None is removed."""
    body = given(name=name, scope=scope, limits=limits)
    return Call("PATCH", f"/keys/{key_id}", reads(Key), {"json": body})


def revoke(key_id: str) -> Call[None]:
    """DELETE /keys/{key_id}. Revoking a key twice is no error."""
    return Call("DELETE", f"/keys/{key_id}", nothing)


def rotate(key_id: str, grace_seconds: int) -> Call[NewKey]:
    """POST .../rotate: reads the new text. The old one stays valid for `grace_seconds` (0 to 2,592,000)."""
    return Call("POST", f"/keys/{key_id}/rotate", reads(NewKey), {"json": {"grace_seconds": grace_seconds}})


def rotate_webhook_secret(key_id: str, grace_seconds: int) -> Call[NewWebhookSecret]:
    """POST .../rotate-webhook-secret: as `rotate`; both secrets sign for `grace_seconds`."""
    body = {"grace_seconds": grace_seconds}
    return Call("POST", f"/keys/{key_id}/rotate-webhook-secret", reads(NewWebhookSecret), {"json": body})
