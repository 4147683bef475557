"""Answers of the API that are not in the job schema. Fields of a newer API are kept in `model_extra`."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


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
