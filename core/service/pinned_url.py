"""Ties a request to an address that was checked, while it still names the host: for URLs that strangers give.

Knows no rules about addresses (address_guard.py has them) and sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class PinnedUrl:
    """The three parts of an httpx request that differ from an ordinary one."""

    url: httpx.URL
    headers: Mapping[str, str]
    extensions: Mapping[str, Any]


def pin(url: str, address: str) -> PinnedUrl:
    """`url` with its host replaced by `address`; Host header and TLS name (RFC 6066, 3) stay those of `url`.

    Raises httpx.InvalidURL where httpx cannot read it.
    """
    named = httpx.URL(url)
    return PinnedUrl(
        url=named.copy_with(host=address),
        headers={"host": named.netloc.decode("ascii")},
        extensions={"sni_hostname": named.raw_host.decode("ascii")},
    )
