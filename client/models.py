"""Answers of the API that are not in the job schema. Fields of a newer API are kept in `model_extra`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from client.options import PriorityName
from core.service.domain.schema import Job


class Answer(BaseModel):
    """Base: immutable, open to fields of a newer API."""

    model_config = ConfigDict(frozen=True, extra="allow")


class UploadTarget(Answer):
    """Answer of POST /uploads: where and how to send the file."""

    id: str
    method: str
    url: str
    headers: dict[str, str]


class Upload(Answer):
    """Answer of GET /uploads/{id}."""

    id: str
    content_type: str
    size_bytes: int
    received: bool = Field(description="The file is stored as declared, so jobs can use it.")
    created_at: datetime
    expires_at: datetime = Field(description="The URL accepts the file until then.")
    usable_until: datetime = Field(description="New jobs can use the upload until then.")


class ModelCard(Answer):
    """Source, licence and needs of a model."""

    source: str = Field(description="URL of the model's page or paper.")
    licence: str = Field(description="Of the weights.")
    disk_gb: float = Field(description="Size of the installed weights, 10^9 bytes.")
    gpu_memory_gb: float | None = Field(description="10^9 bytes; null: it runs on a CPU.")
    notes: str = Field(description="Limits that a user must know.")


class Model(Answer):
    """One model of GET /models. Limits, defaults, capabilities and workers are in `model_extra`."""

    name: str
    description: str
    installed: bool
    card: ModelCard | None = Field(default=None, description="None: the model has none, or the API is older.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    example_prompts: list[str]


class ModelList(Answer):
    """Answer of GET /models."""

    models: list[Model]
    default_model: str


class BatchResult(Answer):
    """What became of one request of a batch: `job`, or `error` as POST /jobs would have answered it."""

    status: int = Field(description="202: created; 200: an earlier batch with the same key created it.")
    job: Job | None
    error: dict[str, Any] | None = Field(description="`code`, `detail`, `field`, `fix`, ...")


class BatchResults(Answer):
    """Answer of POST /jobs/batch."""

    results: list[BatchResult]


KeyScope = Literal["read", "jobs", "admin"]
"""What a key may do; each includes those before it."""


class KeyLimits(TypedDict, total=False):
    """Limits of one key. None: no limit of its own; `max_priority`: normal, or high with the scope admin; `share`:
    1."""

    requests_per_minute: int | None
    unfinished_jobs: int | None
    frames_per_day: int | None
    inference_steps: int | None
    frames: int | None
    stored_bytes: int | None
    max_priority: PriorityName | None
    share: float | None


class Key(Answer):
    """An API key, without its text. Of the client's own key only id, name, scope, limits and usage are told."""

    id: str
    name: str
    scope: KeyScope
    limits: dict[str, int | float | str | None]
    usage: dict[str, int] | None = Field(default=None, description="What it has used of its limits; of one key only.")
    created_at: datetime | None = None
    revoked_at: datetime | None = None


class NewKey(Key):
    """A key that was just made or rotated."""

    key: str = Field(repr=False, description="Its text, which is in this answer only.")
    webhook_secret: str | None = Field(default=None, repr=False, description="Of a new key; in this answer only.")


class NewWebhookSecret(Key):
    """A key whose webhook secret was just rotated."""

    webhook_secret: str = Field(repr=False, description="The new one, which is in this answer only.")


class KeyList(Answer):
    """Answer of GET /keys."""

    keys: list[Key]
