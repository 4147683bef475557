"""Calls that manage API keys."""

from __future__ import annotations

from client.calls.call import Call, given, nothing, reads
from client.models import Key, KeyLimits, KeyList, KeyScope, NewKey, NewWebhookSecret
from client.responses import read_model


def create(name: str, scope: KeyScope, limits: KeyLimits | None) -> Call[NewKey]:
    return Call("POST", "/keys", reads(NewKey), {"json": given(name=name, scope=scope, limits=limits)})


def all_keys() -> Call[tuple[Key, ...]]:
    return Call("GET", "/keys", lambda response: tuple(read_model(response, KeyList).keys))


def get(key_id: str) -> Call[Key]:
    return Call("GET", f"/keys/{key_id}", reads(Key))


def current() -> Call[Key]:
    return Call("GET", "/key", reads(Key))


def change(key_id: str, name: str | None, scope: KeyScope | None, limits: KeyLimits | None) -> Call[Key]:
    body = given(name=name, scope=scope, limits=limits)
    return Call("PATCH", f"/keys/{key_id}", reads(Key), {"json": body})


def revoke(key_id: str) -> Call[None]:
    return Call("DELETE", f"/keys/{key_id}", nothing)


def rotate(key_id: str, grace_seconds: int) -> Call[NewKey]:
    return Call("POST", f"/keys/{key_id}/rotate", reads(NewKey), {"json": {"grace_seconds": grace_seconds}})


def rotate_webhook_secret(key_id: str, grace_seconds: int) -> Call[NewWebhookSecret]:
    body = {"grace_seconds": grace_seconds}
    return Call("POST", f"/keys/{key_id}/rotate-webhook-secret", reads(NewWebhookSecret), {"json": body})
