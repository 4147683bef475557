"""API keys: what is stored of one, its scopes and limits, and the text that its holder sends.

The text is `lt_` + 16 characters that name the key + `_` + 52 random characters (260 bits), all lower-case base32. Only
the SHA-256 of the text is stored. A slow hash would protect nothing: so many random bits cannot be tried.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import Field, SecretStr

from core.service.domain.ids import random_letters
from core.service.domain.priority import AskedPriority, Priority
from core.service.domain.schema.base import Stored

KEY_ID_PREFIX = "key_"
ADMIN_ID = "admin"
"""Id of the operator's own key, LONGTAKE_ADMIN_KEY."""
MIN_ADMIN_KEY = 32
"""Characters of the operator's own key, which they choose."""
MAX_LIMIT = 2**53 - 1
"""Largest integer that every JSON client keeps exact (RFC 8259, section 6)."""
_ID_LENGTH, _SECRET_LENGTH = 16, 52
_TEXT = re.compile(rf"lt_([a-z2-7]{{{_ID_LENGTH}}})_[a-z2-7]{{{_SECRET_LENGTH}}}")


class Scope(StrEnum):
    """What a key may do. Each includes those before it."""

    READ = "read"
    """Read its jobs."""
    JOBS = "jobs"
    """Also create, change and delete its jobs and uploads."""
    ADMIN = "admin"
    """Also manage keys, and read and change the jobs of all keys."""


_INCLUDED = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.JOBS: frozenset({Scope.READ, Scope.JOBS}),
    Scope.ADMIN: frozenset(Scope),
}


class KeyLimits(Stored):
    """Limits of one key, on top of those of the deployment. None: no limit of its own, or what the field says."""

    requests_per_minute: int | None = Field(default=None, ge=1, le=MAX_LIMIT, description="Requests per minute.")
    unfinished_jobs: int | None = Field(
        default=None, ge=0, le=MAX_LIMIT, description="Jobs that are queued or running at a time."
    )
    frames_per_day: int | None = Field(
        default=None, ge=0, le=MAX_LIMIT, description="Frames of new videos per day (UTC)."
    )
    inference_steps: int | None = Field(
        default=None, ge=1, le=MAX_LIMIT, description="Denoising steps of each kind: windows, first chunk, refinement."
    )
    frames: int | None = Field(default=None, ge=16, le=MAX_LIMIT, description="Length of a video in frames.")
    stored_bytes: int | None = Field(
        default=None, ge=0, le=MAX_LIMIT, description="Bytes of all its videos and uploads."
    )
    max_priority: AskedPriority | None = Field(
        default=None,
        description="The highest `priority` of its jobs. null: normal; high for keys with the scope admin, such as"
        " LONGTAKE_ADMIN_KEY. Without keys every request may have high.",
    )
    share: float | None = Field(
        default=None,
        ge=0.01,
        le=100,
        allow_inf_nan=False,
        description="Weight of the key when workers are shared between keys that have work: one with 2 gets twice the"
        " worker seconds of one with 1. null: 1. Jobs keep the share with which they were created.",
    )


class RetiredSecret(Stored):
    """A secret that was replaced and is valid for a while still."""

    value: str = Field(repr=False, description="Of a key: SHA-256 of its text. Of webhooks: the whsec_ secret itself.")
    valid_until: datetime


class ApiKey(Stored):
    """What is stored of a key."""

    id: str
    name: str = Field(description="For people: whose key it is.")
    scope: Scope
    text_sha256: str = Field(description="Hexadecimal SHA-256 of the text.")
    retired_text: RetiredSecret | None = None
    limits: KeyLimits = KeyLimits()
    webhook_secret: str = Field(repr=False, description="whsec_... secret that signs the webhooks of its jobs.")
    retired_webhook_secret: RetiredSecret | None = None
    created_at: datetime
    revoked_at: datetime | None = None
    revision: int = Field(default=0, description="Grows with each change.")

    def may(self, scope: Scope) -> bool:
        """Whether its scope includes `scope`."""
        return scope in _INCLUDED[self.scope]

    @property
    def max_priority(self) -> Priority:
        """The highest priority of its jobs."""
        return self.limits.max_priority or (Priority.HIGH if self.may(Scope.ADMIN) else Priority.NORMAL)

    @property
    def share(self) -> float:
        """Its weight in the fair share, 0.01 to 100."""
        return self.limits.share or 1.0

    def has_text(self, text: str, now: datetime) -> bool:
        """Whether `text` is this key's, and the key is not revoked. Takes the same time for every text."""
        return self.has_digest(digest_of(text), now)

    def has_digest(self, digest: str, now: datetime) -> bool:
        """`has_text` of the text with this SHA-256 (`digest_of`)."""
        retired = self.retired_text
        is_newest = hmac.compare_digest(digest, self.text_sha256)
        is_retired = hmac.compare_digest(digest, retired.value if retired else self.text_sha256)
        in_time = retired is not None and now < retired.valid_until
        return (is_newest or (is_retired and in_time)) and self.revoked_at is None

    def webhook_secrets(self, now: datetime) -> tuple[str, ...]:
        """The secrets that sign a webhook now, the newest first."""
        retired = self.retired_webhook_secret
        return (self.webhook_secret, retired.value) if retired and now < retired.valid_until else (self.webhook_secret,)


@dataclass(frozen=True)
class NewKey:
    """Id and text of a key to be made."""

    id: str
    text: str


def new_key(key_id: str | None = None) -> NewKey:
    """A new text, of a new key or of the key `key_id` (rotation)."""
    name = random_letters(_ID_LENGTH) if key_id is None else key_id.removeprefix(KEY_ID_PREFIX)
    return NewKey(KEY_ID_PREFIX + name, f"lt_{name}_{random_letters(_SECRET_LENGTH)}")


def key_id_of(text: str) -> str | None:
    """The id of the key that has this text, if it is one; None if it has not the form of a key."""
    found = _TEXT.fullmatch(text)
    return KEY_ID_PREFIX + found[1] if found else None


def digest_of(text: str) -> str:
    """What is stored of a key's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def long_enough_key(key: SecretStr) -> SecretStr:
    """Validator of settings: `key` unchanged. Raises ValueError, without the key in it."""
    text = key.get_secret_value()
    if len(text) < MIN_ADMIN_KEY or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"it needs {MIN_ADMIN_KEY} or more printable ASCII characters; make one: openssl rand -hex 32")
    return key
