"""The `webhooks` section of the OpenAPI document: what receivers get."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header
from pydantic import Field

from core.service.domain.schema import PING, Frozen, JobError, JobStatus, WebhookEvent


class WebhookMeasurement(Frozen):
    """How measuring the video ended. GET /jobs/{id}/metrics has the metrics."""

    status: Literal["measured", "failed"]
    error: JobError | None = Field(default=None, description="Why it failed.")


class WebhookJob(Frozen):
    """The job at the time of the event. Read the full job with GET /jobs/{id}."""

    id: str
    status: JobStatus
    version: int
    frames_done: int
    frames_total: int | None = Field(description="null: the video has no end, or its input is not read yet.")
    chunks_done: int
    chunk: dict[str, int] | None = Field(
        default=None, description="For chunk.completed and chunk.refined: index, first_frame, num_frames."
    )
    from_frame: int | None = Field(default=None, description="For job.prompt_changed.")
    prompt: str | None = Field(default=None, description="For job.prompt_changed: at most its first 1,000 characters.")
    measurement: WebhookMeasurement | None = Field(default=None, description="For job.measured.")
    error: JobError | None = Field(default=None, description="For job.failed.")


class WebhookBody(Frozen):
    """Body of a webhook (Standard Webhooks 1.0.0)."""

    type: WebhookEvent
    timestamp: datetime = Field(description="Time of the event.")
    data: WebhookJob


class PingData(Frozen):
    """Names the ping."""

    id: str = Field(description="GET /webhooks/pings/{id} tells its result.", examples=["ping_k3mq5w7zr2ay4n6c5bqd"])


class PingBody(Frozen):
    """Body of a ping."""

    type: Literal["ping"]
    timestamp: datetime = Field(description="Time of the request for it.")
    data: PingData


webhooks = APIRouter()
_SUMMARIES: dict[WebhookEvent, str] = {
    "job.succeeded": "The final video is available",
    "job.failed": "The job ended without a final video",
    "job.canceled": "The job was canceled; finished chunks are kept",
    "chunk.completed": "A chunk can be played; only if webhook_events lists it",
    "job.prompt_changed": "A client changed the prompt; only if webhook_events lists it",
    "job.measured": "The video is measured, or cannot be; only if webhook_events lists it",
    "chunk.refined": "A refined chunk can be played; only if webhook_events lists it",
}


WebhookId = Annotated[str, Header(description="The same on every attempt; use it to ignore duplicates.")]
WebhookTimestamp = Annotated[int, Header(description="Unix time of this attempt, in seconds.")]
WebhookSignature = Annotated[
    str,
    Header(
        description="v1,base64(HMAC-SHA256(secret, id.timestamp.body)); several, separated by spaces, while a secret is"
        " being replaced: one of them has to be right."
    ),
]


def _receive(
    body: WebhookBody,
    webhook_id: WebhookId,
    webhook_timestamp: WebhookTimestamp,
    webhook_signature: WebhookSignature,
) -> None:
    """Sent to the job's webhook_url. Respond with 2xx, or with 410 to stop all webhooks of this job, within
    LONGTAKE_WEBHOOK_TIMEOUT_SECONDS (default 15).

    Any other result is retried for about 31 hours.
    """


def _receive_ping(
    body: PingBody,
    webhook_id: WebhookId,
    webhook_timestamp: WebhookTimestamp,
    webhook_signature: WebhookSignature,
) -> None:
    """Sent once to the webhook_url of POST /webhooks/ping. Respond as to any webhook."""


for _event, _summary in _SUMMARIES.items():
    webhooks.post(_event, summary=_summary, status_code=204)(_receive)
webhooks.post(PING, summary="A client tries its receiver", status_code=204)(_receive_ping)
