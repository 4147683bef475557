"""The header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07), and a checksum that tells requests apart.

A key may be sent bare, as most clients do, or in quotes, as the draft has it: both are the same key.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated

from fastapi import Depends, Request

from core.service.domain.errors import InvalidIdempotencyKey

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
"""Response header: the job is that of an earlier request."""
MAX_CHARACTERS = 255
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
"""A string of RFC 9651, section 3.3.3."""
_FIX = f"send 1 to {MAX_CHARACTERS} printable ASCII characters, for example a UUID"


def fingerprint_of(body: object) -> str:
    """SHA-256 of a decoded JSON body. The order of keys and white space do not count."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def key_of(values: list[str]) -> str | None:
    """The key in the header's values; None without any. Raises InvalidIdempotencyKey."""
    if not values:
        return None
    if len(values) > 1:
        raise InvalidIdempotencyKey(f"{HEADER} is given {len(values)} times", field=HEADER, fix="give it once")
    text = values[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not (0 < len(key) <= MAX_CHARACTERS and key.isascii() and key.isprintable()):
        raise InvalidIdempotencyKey(f"{HEADER} is empty, too long or not printable ASCII", field=HEADER, fix=_FIX)
    return key


async def _key(request: Request) -> str | None:
    return key_of(request.headers.getlist(HEADER))


IdempotencyKey = Annotated[str | None, Depends(_key)]
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Makes a retry safe: the same key and body give the same job for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}
"""For the OpenAPI document."""
