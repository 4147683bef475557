"""Endpoints of API keys. The caller's scope is checked: `admin` for all below /keys (api.access.scopes)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel

from api.access.caller import CallerDep
from api.access.known_keys import KnownKeysDep
from api.access.links import BaseUrl
from api.backends.ports import PortsDep, SettingsDep
from api.http.openapi import KEY_BODY, KEY_CHANGE_BODY, ROTATION_BODY, may_fail
from api.http.responses import JsonBody
from core.service.admission.request_body import parse_body
from core.service.domain import key_changes
from core.service.domain.api_keys import new_key
from core.service.domain.errors import InvalidField, KeysNotUsed
from core.service.domain.key_schema import (
    KeyChange,
    KeyInUse,
    KeyList,
    KeyRequest,
    KeyRotation,
    KeyView,
    NewKeyView,
    NewWebhookSecret,
    OwnKeyInUse,
    RotatedKey,
    key_view,
    own_key,
)
from core.service.domain.text import check_characters
from core.service.domain.webhook_secret import generate_secret


def _with_keys(settings: SettingsDep) -> None:
    """Raises KeysNotUsed: keys that anybody could create would be valid once LONGTAKE_ADMIN_KEY is set."""
    if settings.admin_key is None:
        raise KeysNotUsed(fix="the operator sets LONGTAKE_ADMIN_KEY")


router = APIRouter(tags=["keys"], dependencies=[Depends(_with_keys)])
KeyId = Annotated[str, Path(description="Id of the key.", examples=["key_k3mq5w7zr2ay4n6c"])]


@router.post(
    "/keys",
    status_code=201,
    summary="Create a key",
    openapi_extra=KEY_BODY,
    responses={201: {"model": NewKeyView}, **may_fail(400, 409, 413, 415, 422, 503)},
)
def create_key(body: JsonBody, ports: PortsDep, known: KnownKeysDep, base_url: BaseUrl) -> Response:
    """The answer is the only one that has the key's text, `key`; only a hash of it is stored. Repeating the request
    makes another key."""
    wanted, new, now = parse_body(body, KeyRequest), new_key(), ports.clock.now()
    check_characters("name", wanted.name)
    key = key_changes.key_of(wanted, new, now)
    ports.keys.create(key)
    known.forget(key.id)
    shown = NewKeyView(**dict(key_view(key, now)), key=new.text, webhook_secret=key.webhook_secret)
    return _answer(shown, 201, {"Location": f"{base_url.api}/keys/{key.id}"})


@router.get("/keys", summary="List keys", responses=may_fail(409, 503))
def list_keys(ports: PortsDep) -> KeyList:
    """All keys, revoked ones too, oldest first, without their texts and secrets."""
    now = ports.clock.now()
    return KeyList(keys=[key_view(key, now) for key in ports.keys.list()])


@router.get("/keys/{key_id}", summary="Read a key", responses=may_fail(404, 409, 503))
def read_key(key_id: KeyId, ports: PortsDep) -> KeyInUse:
    """Its name, scope and limits, and what it uses of them."""
    shown = key_view(ports.keys.get(key_id), ports.clock.now())
    return KeyInUse(**dict(shown), usage=ports.usage.of(key_id))


@router.patch(
    "/keys/{key_id}",
    summary="Change a key's name, scope or limits",
    openapi_extra=KEY_CHANGE_BODY,
    responses={200: {"model": KeyView}, **may_fail(400, 404, 409, 413, 415, 422, 503)},
)
def change_key(key_id: KeyId, body: JsonBody, ports: PortsDep, known: KnownKeysDep) -> KeyView:
    """What is not given stays; null is refused, except of a limit, which it removes. It acts within two seconds."""
    change = parse_body(body, KeyChange)
    if not change.model_fields_set:
        raise InvalidField("nothing is to be changed", fix="give a name, a scope, or limits")
    check_characters("name", change.name)
    key = ports.keys.change(key_id, lambda key: key_changes.changed(key, change))
    known.forget(key_id)
    return key_view(key, ports.clock.now())


@router.delete(
    "/keys/{key_id}",
    status_code=204,
    summary="Revoke a key",
    response_class=Response,
    responses={204: {"description": "Revoked."}, **may_fail(404, 409, 503)},
)
def revoke_key(key_id: KeyId, ports: PortsDep, known: KnownKeysDep) -> Response:
    """It is refused within two seconds, for ever, and so are the links of its jobs. Its jobs stay, and its running jobs
    go on. It stays in the list."""
    now = ports.clock.now()
    ports.keys.change(key_id, lambda key: key_changes.revoked(key, now))
    known.forget(key_id)
    return Response(status_code=204)


@router.post(
    "/keys/{key_id}/rotate",
    summary="Give a key a new text",
    openapi_extra=ROTATION_BODY,
    responses={200: {"model": RotatedKey}, **may_fail(400, 404, 409, 413, 415, 422, 503)},
)
def rotate_key(key_id: KeyId, body: JsonBody, ports: PortsDep, known: KnownKeysDep) -> Response:
    """The answer is the only one that has the new text. The one before it is valid for `grace_seconds`; older ones are
    not. Jobs, uploads and limits stay those of the key."""
    wanted, new, now = parse_body(body, KeyRotation), new_key(key_id), ports.clock.now()
    key = ports.keys.change(key_id, lambda key: key_changes.rotated(key, new.text, now, wanted.grace_seconds))
    known.forget(key_id)
    return _answer(RotatedKey(**dict(key_view(key, now)), key=new.text))


@router.post(
    "/keys/{key_id}/rotate-webhook-secret",
    summary="Give a key a new webhook secret",
    openapi_extra=ROTATION_BODY,
    responses={200: {"model": NewWebhookSecret}, **may_fail(400, 404, 409, 413, 415, 422, 503)},
)
def rotate_webhook_secret(key_id: KeyId, body: JsonBody, ports: PortsDep) -> Response:
    """Webhooks of the key's jobs have two signatures for `grace_seconds`, one by each secret."""
    wanted, secret, now = parse_body(body, KeyRotation), generate_secret(), ports.clock.now()
    key = ports.keys.change(key_id, lambda key: key_changes.with_webhook_secret(key, secret, now, wanted.grace_seconds))
    return _answer(NewWebhookSecret(**dict(key_view(key, now)), webhook_secret=key.webhook_secret))


@router.get("/key", summary="Read your own key", responses=may_fail(409, 503))
def read_own_key(caller: CallerDep, ports: PortsDep) -> OwnKeyInUse:
    """Scope and limits of the key that the request is sent with, and what it uses of them."""
    assert caller.key is not None  # Access lets nobody else through where keys are used
    return OwnKeyInUse(**dict(own_key(caller.key)), usage=ports.usage.of(caller.key.id))


def _answer(shown: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer with a secret, which no cache may keep."""
    return Response(
        shown.model_dump_json(),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
