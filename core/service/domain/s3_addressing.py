"""S3 addressing styles: path (https://server/bucket/key) and virtual (https://bucket.server/key).

Some providers support only one of them.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from core.service.domain.addresses import is_address

Addressing = Literal["path", "virtual", "auto"]


def style_of(addressing: Addressing, endpoint: str | None) -> Literal["path", "virtual"]:
    """Addressing style for an endpoint (None: AWS). `auto` is virtual, except for IP addresses and names without a dot,
    which cannot have subdomains."""
    if addressing != "auto":
        return addressing
    host = urlsplit(endpoint).hostname or "" if endpoint else "amazonaws.com"
    return "path" if "." not in host or is_address(host) else "virtual"


def place_of(endpoint: str, bucket: str, key: str, style: Literal["path", "virtual"]) -> tuple[str, str]:
    """Endpoint and path (not percent-encoded) of an object's URL."""
    if style == "path":
        return endpoint, f"/{bucket}/{key}"
    scheme, _, rest = endpoint.partition("://")
    return f"{scheme}://{bucket}.{rest}", f"/{key}"
