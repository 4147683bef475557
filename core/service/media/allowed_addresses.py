"""Where an image or a video may be fetched from: the rules for clients' URLs, with names looked up within a time limit
and in a pool of their own. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.service.domain.errors import MediaFetchFailed, NameServiceUnavailable
from core.service.net.address_guard import UrlUse, allowed_addresses
from core.service.net.resolver import WORKER_SECONDS, BoundedResolver
from core.service.settings import Settings

MediaAddresses = Callable[[str, Settings, UrlUse], Sequence[str]]
"""(URL, settings, what for) -> the addresses that it may be fetched from, or UrlRefused."""


def media_addresses(resolver: BoundedResolver | None = None) -> MediaAddresses:
    """The same rules as when the job was accepted, on what the host's name means now. A name server that does not
    answer is no refusal: raises MediaFetchFailed."""
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
