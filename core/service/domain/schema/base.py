"""Base models: strict for requests, tolerant of unknown fields for stored data and for answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of requests: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(BaseModel):
    """Base of stored data: immutable. Unknown fields are kept and written back, so that two versions can run side by
    side and an upgrade can be rolled back."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Shown(BaseModel):
    """Base of answers: immutable. Unknown fields are ignored, so that an older client can read a newer API."""

    model_config = ConfigDict(frozen=True, extra="ignore")
