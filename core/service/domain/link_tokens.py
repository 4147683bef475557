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
from dataclasses import dataclass
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


def stated_expiry(token: str) -> datetime:
    """When a token expires that `expiry_of_token` has found to be a job's."""
    return datetime.fromtimestamp(int(token.partition(".")[0], 16), UTC)


def with_token(url: str, token: str | None) -> str:
    """`url` with the token in its query; `url` itself without one."""
    return url if token is None else f"{url}{'&' if '?' in url else '?'}token={token}"


@dataclass(frozen=True)
class LinkTokens:
    """The tokens of all links in one answer: `given`, with which its own request came, or new ones until `expiry`. None
    of both: the links need no token."""

    given: str | None = None
    expiry: datetime | None = None

    def of(self, job_id: str, secret: str | None) -> str | None:
        """The token of a job; None for a job of an older version, which has no secret."""
        if self.given is not None or self.expiry is None or secret is None:
            return self.given
        return link_token(job_id, secret, self.expiry)


NO_TOKENS = LinkTokens()


def _signature(job_id: str, secret: str, stamp: str) -> str:
    digest = hmac.digest(secret.encode(), f"{job_id} {stamp}".encode(), hashlib.sha256)[:16]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
