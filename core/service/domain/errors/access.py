"""Errors of keys: who asks, what they may do, and how much of it."""

from __future__ import annotations

from core.service.domain.errors.base import LongtakeError
from core.service.domain.errors.requests import RequestError

_VALID_KEY_OR_LINK = (
    "send Authorization: Bearer lt_... with a valid key; if you opened a link, GET the job for a new one"
)


class KeyRefused(LongtakeError):
    """This request needs a valid API key."""

    code = "key_refused"

    def __init__(self, message: str | None = None, *, field: str | None = None, fix: str | None = None) -> None:
        """The same fix for every reason, so that nobody learns which keys, jobs and links there are."""
        super().__init__(message, field=field, fix=fix or _VALID_KEY_OR_LINK)


class ScopeMissing(LongtakeError):
    """The API key may not do this."""

    code = "scope_missing"


class LinkExpired(LongtakeError):
    """The link has expired."""

    code = "link_expired"


class KeyNotFound(LongtakeError):
    """There is no such API key."""

    code = "key_not_found"


class KeyRevoked(LongtakeError):
    """The API key is revoked."""

    code = "key_revoked"


class KeysNotUsed(LongtakeError):
    """This deployment has no API keys."""

    code = "keys_not_used"


class LimitReached(LongtakeError):
    """The API key has used what it may."""

    code = "limit_reached"

    def __init__(
        self, message: str | None = None, *, field: str | None = None, fix: str | None = None, retry_seconds: int = 60
    ) -> None:
        super().__init__(message, field=field, fix=fix)
        self.retry_seconds = retry_seconds


class UsageUnknown(LongtakeError):
    """What the API key uses of its limits is being counted again."""

    code = "usage_unknown"


class LimitExceeded(RequestError):
    """The request asks for more than the API key may ever have."""

    code = "limit_exceeded"
