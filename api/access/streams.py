"""For how long a caller may follow a job: until its key is revoked or has another text, or its link expires or is
revoked.

Links in a long stream are renewed with it, so that those in a new event are as good as those in any answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from api.access.caller import Caller, CallerDep
from api.access.known_keys import KnownKeys, known_keys_of
from api.access.links import BaseUrl, checked, tokens_of
from api.access.own_jobs import OwnLook
from api.backends.looks import Looks, LooksDep
from api.backends.ports import PortsDep, SettingsDep
from api.events.text import ChunkLinks, ListPermit, Permit
from core.service.domain.api_keys import ADMIN_ID, digest_of
from core.service.domain.errors import JobNotFound, KeyRefused, LinkExpired, StorageError, StoreError
from core.service.domain.ports import Clock
from core.service.domain.schema import JobRecord
from core.service.domain.views import PublicUrls
from core.service.settings import Settings


@dataclass(frozen=True)
class _Follower:
    """A caller that follows a job."""

    record: JobRecord
    caller: Caller
    key_sha256: str
    """`digest_of` the key's text with which the stream was opened; of no matter if a link opened it."""
    urls: PublicUrls
    looks: Looks
    keys: KnownKeys
    clock: Clock
    settings: Settings

    @property
    def permit(self) -> Permit:
        return Permit(ChunkLinks(self.urls.media, self.urls.token_of(self.record)), self._renewed)

    async def _renewed(self) -> Permit | None:
        """During an outage what was permitted stays so. A deleted job's stream ends by itself."""
        now, record = self.clock.now(), self.record
        try:
            record = await self._read(now)
        except (KeyRefused, LinkExpired):
            return None
        except (JobNotFound, StoreError, StorageError):
            pass
        urls = replace(self.urls, tokens=tokens_of(self.caller, self.settings, now))
        return replace(self, record=record, urls=urls).permit

    async def _read(self, now: datetime) -> JobRecord:
        """The job. Raises KeyRefused, LinkExpired, JobNotFound, StoreError, StorageError."""
        if self.caller.token is not None:
            return (await checked(self.caller.token, self.record.id, self.looks, self.keys, now)).record
        caller = await _current(self.caller, self.key_sha256, self.keys, now)
        seen = await self.looks.look(self.record.id)
        if not caller.owns(seen.record):
            raise KeyRefused
        return seen.record


async def _current(caller: Caller, key_sha256: str, keys: KnownKeys, now: datetime) -> Caller:
    """With its key as it is now. Raises KeyRefused, StoreError, StorageError."""
    assert caller.key is not None
    if caller.key.id == ADMIN_ID:
        return caller
    key = await keys.get(caller.key.id)
    if key is None or not key.has_digest(key_sha256, now):
        raise KeyRefused
    return replace(caller, key=key)


@dataclass(frozen=True)
class _ListFollower:
    """A caller that follows all jobs of its key."""

    caller: Caller
    urls: PublicUrls
    key_sha256: str
    keys: KnownKeys
    clock: Clock
    settings: Settings

    @property
    def permit(self) -> ListPermit:
        return ListPermit(self.caller.listed_owner, self.urls, self._renewed)

    async def _renewed(self) -> ListPermit | None:
        """During an outage what was permitted stays so."""
        if self.caller.is_everybody:
            return self.permit
        caller, now = self.caller, self.clock.now()
        try:
            caller = await _current(caller, self.key_sha256, self.keys, now)
        except KeyRefused:
            return None
        except (StoreError, StorageError):
            pass
        urls = replace(self.urls, tokens=tokens_of(caller, self.settings, now))
        return replace(self, caller=caller, urls=urls).permit


async def _list_permit(
    request: Request, caller: CallerDep, base_url: BaseUrl, ports: PortsDep, settings: SettingsDep
) -> ListPermit:
    return list_permit(caller, _digest_of_key(request, caller), base_url, known_keys_of(request), ports.clock, settings)


def list_permit(
    caller: Caller, key_sha256: str, urls: PublicUrls, keys: KnownKeys, clock: Clock, settings: Settings
) -> ListPermit:
    """What `caller`, which is no link's, gets of all its jobs. `key_sha256`: as of _Follower."""
    return _ListFollower(caller, urls, key_sha256, keys, clock, settings).permit


def _digest_of_key(request: Request, caller: Caller) -> str:
    """Of the text that the request was sent with; Access has checked its form."""
    return digest_of("" if caller.key is None else request.headers["Authorization"].split()[-1])


async def _permit(
    request: Request,
    own: OwnLook,
    caller: CallerDep,
    base_url: BaseUrl,
    looks: LooksDep,
    ports: PortsDep,
    settings: SettingsDep,
) -> Permit:
    if own is None:
        return Permit(ChunkLinks(base_url.media))
    keys = known_keys_of(request)
    digest = _digest_of_key(request, caller)
    return _Follower(own.record, caller, digest, base_url, looks, keys, ports.clock, settings).permit


StreamPermit = Annotated[Permit, Depends(_permit)]
ListStreamPermit = Annotated[ListPermit, Depends(_list_permit)]
