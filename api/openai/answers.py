"""Answers under /v1, as OpenAI's package reads them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.service.domain.schema import Shown

VideoStatus = Literal["queued", "in_progress", "completed", "failed"]


class VideoError(Shown):
    """Why there is no complete video."""

    code: str = Field(description="As of the job's `error`; `canceled` if it was canceled.")
    message: str


class Video(Shown):
    """A job as OpenAI's API shows it. `GET /jobs/{id}` with the same id tells more."""

    id: str
    object: Literal["video"] = "video"
    status: VideoStatus
    model: str
    prompt: str
    progress: int = Field(description="Percent, 0 to 100.")
    seconds: str = Field(
        description="Length; of a video without end, or whose input is not read yet, what is made.", examples=["4"]
    )
    size: str | None = Field(description="WIDTHxHEIGHT; null: the model is no longer installed.", examples=["128x128"])
    created_at: int = Field(description="Unix time in seconds, as all times here.")
    completed_at: int | None = Field(description="When the job ended.")
    expires_at: int | None = Field(description="When it is deleted.")
    remixed_from_video_id: str | None
    error: VideoError | None


class VideoList(Shown):
    """A page of GET /v1/videos."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None = Field(
        description="`after` of the next page: the last video's place, which stays even if that video is deleted."
    )
    has_more: bool


class DeletedVideo(Shown):
    """Answer of DELETE /v1/videos/{id}."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class ModelObject(Shown):
    """An installed model. `GET /models` tells more."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When its preset was written.")
    owned_by: Literal["longtake"] = "longtake"


class ModelObjectList(Shown):
    """Answer of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class ErrorObject(Shown):
    """What is wrong."""

    message: str = Field(description="What is wrong, and what to do about it.")
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(description="The field or parameter at fault.")
    code: str = Field(description="A code of docs/http-api.md.", examples=["too_few_frames"])


class ErrorAnswer(Shown):
    """Every error under /v1."""

    error: ErrorObject
