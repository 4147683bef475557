"""Answers of the API that are not in the job schema. Fields of a newer API are kept in `model_extra`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

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


class Model(Answer):
    """One model of GET /models. Limits, defaults and workers are in `model_extra`."""

    name: str
    description: str
    installed: bool
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
