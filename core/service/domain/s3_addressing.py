"""Where an S3 server has a bucket: in the path (https://server/bucket/key) or in the host (https://bucket.server/key).

Some providers take only one of the two. Pure: knows no client and no signature.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from core.service.domain.addresses import is_address

Addressing = Literal["path", "virtual", "auto"]


def style_of(addressing: Addressing, endpoint: str | None) -> Literal["path", "virtual"]:
    """The style for an endpoint (None: AWS). `auto`: virtual, but for addresses and names without a dot, below which no
    bucket can have a name of its own."""
    if addressing != "auto":
        return addressing
    host = urlsplit(endpoint).hostname or "" if endpoint else "amazonaws.com"
    return "path" if "." not in host or is_address(host) else "virtual"


def place_of(endpoint: str, bucket: str, key: str, style: Literal["path", "virtual"]) -> tuple[str, str]:
    """Endpoint and path (not yet percent-encoded) of an object's URL."""
    if style == "path":
        return endpoint, f"/{bucket}/{key}"
    scheme, _, rest = endpoint.partition("://")
    return f"{scheme}://{bucket}.{rest}", f"/{key}"
