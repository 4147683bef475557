"""Base models: strict for requests, tolerant of unknown fields for stored data and for answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of what clients send: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(BaseModel):
    """Base of what the service stores for itself: immutable. Fields of a newer version are kept and written back, so
    that two versions can run side by side and an upgrade can be rolled back."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Shown(BaseModel):
    """Base of what clients are shown: immutable. Fields of a newer API are ignored by those who read it with this."""

    model_config = ConfigDict(frozen=True, extra="ignore")
