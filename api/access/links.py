"""Links of jobs: the tokens that they carry, and the routes that take one instead of a key (see link_tokens.py)."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends, Query, Request
from fastapi.routing import APIRoute

from api.access.caller import Caller, caller_of
from api.access.known_keys import KnownKeys
from api.backends.looks import Looks
from api.backends.ports import ports_of
from core.service.domain.api_keys import ADMIN_ID
from core.service.domain.errors import JobNotFound, KeyRefused, LinkExpired
from core.service.domain.link_tokens import LinkTokens, expiry_of_links, expiry_of_token, new_link_secret
from core.service.domain.ports import Look
from core.service.domain.schema import JobRecord
from core.service.domain.views import PublicUrls
from core.service.settings import Settings

_NOBODYS_SECRET = new_link_secret()
"""Checks tokens of jobs that do not exist, so that their answer takes as long as that of others."""


async def _link_token(
    token: Annotated[
        str | None, Query(description="Of a link of this job, instead of an API key; only with LONGTAKE_ADMIN_KEY.")
    ] = None,
) -> None:
    del token  # declared for the document: the middleware Access has read it


BY_LINK = [Depends(_link_token)]
"""`dependencies` of a route that a link's token opens."""


def opens_by_link(request: Request) -> bool:
    """Whether a link's token opens the route of the request."""
    route = cast(APIRoute, request.scope["route"])
    return any(dependency.dependency is _link_token for dependency in route.dependencies)


async def checked(token: str, job_id: str, looks: Looks, keys: KnownKeys, now: datetime) -> Look:
    """The job of a link. Raises KeyRefused for every token that is not one of this job, and if the job's key is not
    valid any more; LinkExpired, StoreError, StorageError."""
    seen: Look | None = None
    with suppress(JobNotFound):
        seen = await looks.look(job_id)
    secret = seen.record.link_secret if seen else None
    expiry = expiry_of_token(token, job_id, secret or _NOBODYS_SECRET)
    if seen is None or expiry is None or not await _has_valid_key(seen.record, keys):
        raise KeyRefused
    if now >= expiry:
        raise LinkExpired(f"this link expired at {expiry:%Y-%m-%dT%H:%M:%SZ}", fix="GET the job for new links")
    return seen


async def _has_valid_key(record: JobRecord, keys: KnownKeys) -> bool:
    """Whether the job's key is not revoked. Jobs that were created without a key are the operator's."""
    if record.owner is None or record.owner == ADMIN_ID:
        return True
    key = await keys.get(record.owner)
    return key is not None and key.revoked_at is None


def base_urls_of(request: Request) -> PublicUrls:
    """The base URLs of links in the answer, and their tokens."""
    settings = cast(Settings, request.app.state.settings)
    api = (settings.public_base_url or str(request.base_url)).rstrip("/")
    tokens = tokens_of(caller_of(request), settings, ports_of(request).clock.now())
    return PublicUrls(api, settings.media_base_url or api, tokens)


def tokens_of(caller: Caller, settings: Settings, now: datetime) -> LinkTokens:
    """Without keys none. The answer to a link has links with its own token: they must not outlive it."""
    if caller.is_everybody or caller.token is not None:
        return LinkTokens(caller.token)
    return LinkTokens(expiry=expiry_of_links(now, settings.link_ttl_seconds))


async def _base_urls(request: Request) -> PublicUrls:
    return base_urls_of(request)


BaseUrl = Annotated[PublicUrls, Depends(_base_urls)]
"""The base URLs of links in answers, and their tokens."""
