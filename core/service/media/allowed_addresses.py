"""Addresses that input media may be fetched from: address_guard with a resolver of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.service.domain.errors import MediaFetchFailed, NameServiceUnavailable
from core.service.net.address_guard import UrlUse, allowed_addresses
from core.service.net.resolver import WORKER_SECONDS, BoundedResolver
from core.service.settings import Settings

MediaAddresses = Callable[[str, Settings, UrlUse], Sequence[str]]
"""(URL, settings, purpose) -> the addresses that it may be fetched from. Raises UrlRefused."""


def media_addresses(resolver: BoundedResolver | None = None) -> MediaAddresses:
    """Apply the rules of admission again, to the host's current addresses. Raises MediaFetchFailed if the name server
    does not answer."""
    pools: list[BoundedResolver] = [] if resolver is None else [resolver]

    def addresses(url: str, settings: Settings, use: UrlUse) -> Sequence[str]:
        if not pools:
            pools.append(BoundedResolver.of(settings, WORKER_SECONDS))
        try:
            return allowed_addresses(url, use, settings, pools[0])
        except NameServiceUnavailable as error:
            raise MediaFetchFailed(
                "the name of its server cannot be looked up", fix="try again, or upload it"
            ) from error

    return addresses
