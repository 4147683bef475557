"""Bodies of requests about API keys, and what is answered about a key: never its text, except when it is new."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from core.service.domain.api_keys import ApiKey, KeyLimits, RetiredSecret, Scope
from core.service.domain.schema.base import Frozen, Shown
from core.service.domain.usage import KeyUsage

DEFAULT_GRACE_SECONDS = 86_400
MAX_GRACE_SECONDS = 2_592_000
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
AskedScope = Literal["read", "jobs", "admin"]


class AskedLimits(KeyLimits):
    """Limits of a key. null, or none given: only those of the deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyRequest(Frozen):
    """Body of POST /keys."""

    name: Name = Field(description="For people: whose key it is.", examples=["Example Ltd, production"])
    scope: AskedScope = Field(
        default="jobs",
        description="read: read its jobs. jobs: also create, change and delete them. admin: also manage keys, and all "
        "jobs.",
    )
    limits: AskedLimits = Field(default=AskedLimits(), description="Limits of this key.")


class KeyChange(Frozen):
    """Body of PATCH /keys/{key_id}. What is not given stays."""

    # The defaults only tell that a field may be left out: they are not read.
    name: Name = Field(default_factory=str, description="Another name.")
    scope: AskedScope = Field(default_factory=lambda: "jobs", description="Another scope.")
    limits: AskedLimits = Field(
        default_factory=AskedLimits, description="Limits to change; null for a limit removes it."
    )


class KeyRotation(Frozen):
    """Body of POST /keys/{key_id}/rotate and of .../rotate-webhook-secret."""

    grace_seconds: int = Field(
        default=DEFAULT_GRACE_SECONDS,
        ge=0,
        le=MAX_GRACE_SECONDS,
        description="How long the old one stays valid beside the new one; 0: not at all.",
    )


class OwnKey(Shown):
    """What the holder of a key may know about it."""

    id: str = Field(examples=["key_k3mq5w7zr2ay4n6c"])
    name: str = Field(examples=["Example Ltd, production"])
    scope: Scope
    limits: KeyLimits


class KeyView(OwnKey):
    """An API key."""

    created_at: datetime
    revoked_at: datetime | None = Field(description="null: the key is valid.")
    old_key_valid_until: datetime | None = Field(description="While the key is rotated; null otherwise.")
    old_webhook_secret_valid_until: datetime | None = Field(
        description="Webhooks have two signatures until then; null: one."
    )


class OwnKeyInUse(OwnKey):
    """Answer of GET /key."""

    usage: KeyUsage = Field(description="What it uses of its limits now.")


class KeyInUse(KeyView):
    """Answer of GET /keys/{key_id}."""

    usage: KeyUsage = Field(description="What it uses of its limits now.")


class NewWebhookSecret(KeyView):
    """A key and its new webhook secret, which is shown only now."""

    webhook_secret: str = Field(description="Verifies webhooks of the key's jobs.", examples=["whsec_..."])


class RotatedKey(KeyView):
    """A key and its new text, which is shown only now."""

    key: str = Field(description="Send it as `Authorization: Bearer ...`.", examples=["lt_..."])


class NewKeyView(RotatedKey, NewWebhookSecret):
    """A new key with its text and its webhook secret, which are shown only now."""


class KeyList(Shown):
    """Answer of GET /keys."""

    keys: list[KeyView] = Field(description="Oldest first, revoked ones too.")


def own_key(key: ApiKey) -> OwnKey:
    """What the holder of `key` reads."""
    return OwnKey(id=key.id, name=key.name, scope=key.scope, limits=key.limits)


def key_view(key: ApiKey, now: datetime) -> KeyView:
    """What an admin reads of `key`."""
    return KeyView(
        **dict(own_key(key)),
        created_at=key.created_at,
        revoked_at=key.revoked_at,
        old_key_valid_until=_end(key.retired_text, now),
        old_webhook_secret_valid_until=_end(key.retired_webhook_secret, now),
    )


def _end(retired: RetiredSecret | None, now: datetime) -> datetime | None:
    return retired.valid_until if retired and now < retired.valid_until else None
