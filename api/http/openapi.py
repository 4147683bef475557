"""What the OpenAPI document says beyond what FastAPI reads from the routes: request body, problems, webhooks.

Schemas of request bodies are put in by hand because core.service.admission.admission parses them, stricter than FastAPI
would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header
from pydantic import BaseModel, Field

from api.http.problems import MEDIA_TYPE, Problem
from core.service.domain.schema import Frozen, JobError, JobRequest, JobStatus, WebhookEvent
from core.service.media.uploads import UploadRequest

DESCRIPTION = """
Longtake makes long videos from text and serves them while they are still being made.

`POST /jobs` answers at once; the video comes in chunks of 16 frames. Watch `links.playlist` in any HLS player, follow
`links.events`, or poll `links.self` with `If-None-Match`. Errors are `application/problem+json` (RFC 9457) with a
stable `code`, the `field` at fault and the `fix`.
"""
TITLES = {
    400: "The body is not JSON.",
    404: "There is no such job or upload, or what is asked for does not exist yet (see `code`).",
    409: "The job's status does not allow this.",
    413: "The body has more than 64 KiB.",
    415: "The body is not declared as application/json, or is compressed.",
    416: "The video does not have the bytes that `Range` asks for.",
    422: "A field or parameter is wrong; `errors` has them all.",
    429: "This client has too many.",
    503: "The service is full, or a part of it does not answer.",
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "shortest": {
        "summary": "Only a prompt",
        "value": {"prompt": "a red circle moving left over a striped background"},
    },
    "full": {
        "summary": "Length, seed and a webhook",
        "value": {
            "prompt": "a blue square moving up over a dotted background",
            "negative_prompt": "striped background",
            "seconds": 12,
            "fps": 8,
            "seed": 7,
            "webhook_url": "https://example.com/hooks/longtake",
            "webhook_events": ["chunk.completed", "job.succeeded", "job.failed"],
            "metadata": {"project": "titles"},
        },
    },
    "refined": {
        "summary": "Also in a higher resolution, refined while it grows",
        "value": {"prompt": "a red circle moving left over a striped background", "refine": True},
    },
    "continued": {
        "summary": "Go on from the end of an uploaded video",
        "value": {
            "prompt": "a blue square moving up over a dotted background",
            "video": "upl_k3mq5w7zr2ay4n6c5bqd",
            "num_frames": 48,
        },
    },
}
UPLOAD_EXAMPLES: dict[str, dict[str, Any]] = {
    "video": {
        "summary": "A video to be continued",
        "value": {"content_type": "video/mp4", "size_bytes": 1048576},
    },
    "image": {
        "summary": "A picture to begin with",
        "value": {"content_type": "image/png", "size_bytes": 65536},
    },
}


def _body(model: type[BaseModel], examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}, "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


REQUEST_BODY = _body(JobRequest, EXAMPLES)
UPLOAD_BODY = _body(UploadRequest, UPLOAD_EXAMPLES)


def may_fail(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may end in these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


def api_version() -> str:
    try:
        return version("longtake")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


class WebhookJob(Frozen):
    """The job at the moment of the event. Thin: read the rest with GET /jobs/{id}."""

    id: str
    status: JobStatus
    version: int
    frames_done: int
    frames_total: int
    chunks_done: int
    chunk: dict[str, int] | None = Field(
        default=None, description="chunk.completed and .refined: index, first_frame, num_frames."
    )
    error: JobError | None = Field(default=None, description="job.failed: why.")


class WebhookBody(Frozen):
    """Body of a webhook, as Standard Webhooks 1.0.0 says."""

    type: WebhookEvent
    timestamp: datetime = Field(description="When it happened.")
    data: WebhookJob


webhooks = APIRouter()
_WHEN: dict[WebhookEvent, str] = {
    "job.succeeded": "The final video is there",
    "job.failed": "The job ended without a final video",
    "job.canceled": "The job was canceled; what was made is kept",
    "chunk.completed": "Another chunk can be played; only where webhook_events names it",
    "chunk.refined": "Another chunk can be played refined; only where webhook_events names it",
}


def _receive(
    body: WebhookBody,
    webhook_id: Annotated[str, Header(description="Same on every try: use it to drop repeats.")],
    webhook_timestamp: Annotated[int, Header(description="Unix seconds of this try.")],
    webhook_signature: Annotated[str, Header(description="v1,base64(HMAC-SHA256(secret, id.timestamp.body)) ...")],
) -> None:
    """Sent to the request's webhook_url. Answer 2xx, or 410 to hear no more of this job, within the service's
    LONGTAKE_WEBHOOK_TIMEOUT_SECONDS (15 unless set).

    Anything else is tried again for about 31 hours.
    """


for _event, _summary in _WHEN.items():
    webhooks.post(_event, summary=_summary, status_code=204)(_receive)


def install(app: FastAPI) -> None:
    """Give `app` the complete document, made once when first asked for."""
    app.webhooks.include_router(webhooks)
    made_by_fastapi = app.openapi
    app.openapi = _completed(made_by_fastapi)


def _completed(made_by_fastapi: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    def document() -> dict[str, Any]:
        made = made_by_fastapi()  # the same dict at every call
        schemas = made["components"]["schemas"]
        for model in (JobRequest, UploadRequest, Problem):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        for not_ours in ("HTTPValidationError", "ValidationError"):
            schemas.pop(not_ours, None)
        _declare_refused_parameters(made)
        return made

    return document


def _declare_refused_parameters(document: dict[str, Any]) -> None:
    """FastAPI promises a 422 of its own wherever there is a parameter; ours are problems, and every operation has
    them: a query parameter that it does not know is refused, too."""
    for operation in _operations(document["webhooks"]):
        operation["responses"].pop("422", None)
    for operation in _operations(document["paths"]):
        if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {}):
            operation["responses"]["422"] = may_fail(422)[422]


def _operations(paths: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (operation for methods in paths.values() for operation in methods.values())
