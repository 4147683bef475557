"""Tokens in a job's links: they let a player read the job without a key, until they expire.

A token is the expiry (Unix seconds, hexadecimal) + `.` + HMAC-SHA256 of job id and expiry under the job's own secret,
the first 16 bytes in base64url. A new secret of the job revokes all its tokens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime

_TOKEN = re.compile(r"([0-9a-f]{1,12})\.([A-Za-z0-9_-]{22})")


def new_link_secret() -> str:
    """A new secret of a job: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def expiry_of_links(now: datetime, ttl_seconds: int) -> datetime:
    """When links that are made now expire: after one to two times `ttl_seconds`. All links of one period of
    `ttl_seconds` have the same expiry, so that they and the ETags of answers with them stay the same."""
    period = int(now.timestamp()) // ttl_seconds
    return datetime.fromtimestamp((period + 2) * ttl_seconds, UTC)


def link_token(job_id: str, secret: str, expiry: datetime) -> str:
    """The token of a job's links."""
    stamp = f"{int(expiry.timestamp()):x}"
    return f"{stamp}.{_signature(job_id, secret, stamp)}"


def expiry_of_token(token: str, job_id: str, secret: str) -> datetime | None:
    """When this token of the job expires; None if it is not the job's. Takes the same time for every signature."""
    found = _TOKEN.fullmatch(token)
    if found is None or not hmac.compare_digest(found[2], _signature(job_id, secret, found[1])):
        return None
    return datetime.fromtimestamp(int(found[1], 16), UTC)


def _signature(job_id: str, secret: str, stamp: str) -> str:
    digest = hmac.digest(secret.encode(), f"{job_id} {stamp}".encode(), hashlib.sha256)[:16]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
