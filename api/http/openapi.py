"""The OpenAPI document beyond what FastAPI generates from the routes: request bodies, problems, webhooks.

Schemas of request bodies are added by hand because core.service.admission.admission parses them, more strictly than
FastAPI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from api.http.openapi_webhooks import webhooks
from api.http.problems import MEDIA_TYPE, Problem
from api.http.request_ids import HEADER as REQUEST_ID
from core.service.domain.schema import JobBranch, JobChange, JobExtension, JobRequest, WebhookPingRequest
from core.service.media.uploads import UploadRequest

DESCRIPTION = """
Longtake generates long videos from text and serves them while they are being generated.

`POST /jobs` returns at once; the video is generated in chunks of 16 frames. Play `links.playlist` in any HLS player,
follow `links.events`, or poll `links.self` with `If-None-Match`. Errors are `application/problem+json` (RFC 9457) with
a stable `code`, the invalid `field` and a `fix`.
"""
TITLES = {
    400: "The body is not JSON, or a header is not valid.",
    401: "The request needs a valid API key.",
    403: "The API key may not do this, or the link has expired.",
    404: "The job or upload does not exist, or the resource does not exist yet (see `code`).",
    409: "The job's status does not allow this, or its id is taken.",
    413: "The body is larger than 64 KiB; a batch: 1 MiB.",
    415: "The body is not declared as application/json, or is compressed.",
    416: "The video does not have the requested `Range`.",
    422: "A field or parameter is invalid; `errors` lists all.",
    429: "This client has too many of these open, or a limit of its API key is reached.",
    503: "The service is at its limit, or a server behind it does not answer.",
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
        "summary": "Refined to a higher resolution while it is generated",
        "value": {"prompt": "a red circle moving left over a striped background", "refine": True},
    },
    "scheduled": {
        "summary": "Another prompt from frame 48 on",
        "value": {
            "prompts": [
                {"start_frame": 0, "text": "a red circle moving left over a striped background"},
                {"start_frame": 48, "text": "a blue circle moving left over a striped background"},
            ],
            "num_frames": 96,
        },
    },
    "endless": {
        "summary": "Without end, until it is canceled or gets an end",
        "value": {"prompt": "a red circle moving left over a striped background", "num_frames": None},
    },
    "continued": {
        "summary": "Continue an uploaded video from its end",
        "value": {
            "prompt": "a blue square moving up over a dotted background",
            "video": "upl_k3mq5w7zr2ay4n6c5bqd",
            "num_frames": 48,
        },
    },
}
CHANGE_EXAMPLES: dict[str, dict[str, Any]] = {
    "prompt": {
        "summary": "Another prompt, as soon as possible",
        "value": {"prompt": "a blue circle moving left over a striped background"},
    },
    "later": {
        "summary": "From a later frame on",
        "value": {"prompt": "a blue circle moving left over a striped background", "from_frame": 96},
    },
    "end": {"summary": "Another length", "value": {"num_frames": 480}},
    "endless": {"summary": "Without end", "value": {"num_frames": None}},
}
EXTENSION_EXAMPLES: dict[str, dict[str, Any]] = {
    "more": {"summary": "48 frames more", "value": {"num_frames": 48}},
    "prompt": {
        "summary": "48 frames more, which show something else",
        "value": {"num_frames": 48, "prompt": "a blue circle moving left over a striped background"},
    },
}
BRANCH_EXAMPLES: dict[str, dict[str, Any]] = {
    "prompt": {
        "summary": "Something else from chunk 3 on",
        "value": {"from_chunk": 3, "prompt": "a blue circle moving left over a striped background"},
    },
    "seed": {"summary": "Another take from chunk 3 on", "value": {"from_chunk": 3, "seed": 8}},
}
UPLOAD_EXAMPLES: dict[str, dict[str, Any]] = {
    "video": {
        "summary": "A video to continue",
        "value": {"content_type": "video/mp4", "size_bytes": 1048576},
    },
    "image": {
        "summary": "An image to start from",
        "value": {"content_type": "image/png", "size_bytes": 65536},
    },
}
PING_EXAMPLES: dict[str, dict[str, Any]] = {
    "usual": {
        "summary": "Signed as your webhooks are",
        "value": {"webhook_url": "https://example.com/hooks/longtake"},
    },
}


def _body(model: type[BaseModel], examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}, "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


REQUEST_BODY = _body(JobRequest, EXAMPLES)
CHANGE_BODY = _body(JobChange, CHANGE_EXAMPLES)
BRANCH_BODY = _body(JobBranch, BRANCH_EXAMPLES)
EXTENSION_BODY = _body(JobExtension, EXTENSION_EXAMPLES)
UPLOAD_BODY = _body(UploadRequest, UPLOAD_EXAMPLES)
PING_BODY = _body(WebhookPingRequest, PING_EXAMPLES)


BATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "title": "JobBatch",
                    "type": "object",
                    "required": ["jobs"],
                    "additionalProperties": False,
                    "properties": {
                        "jobs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 100,
                            "items": {"$ref": "#/components/schemas/JobRequest"},
                        }
                    },
                },
                "examples": {
                    "two": {
                        "summary": "Two jobs",
                        "value": {"jobs": [each["value"] for each in (EXAMPLES["shortest"], EXAMPLES["refined"])]},
                    }
                },
            }
        },
    }
}


def may_fail(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route that may answer with these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


@cache
def api_version() -> str:
    """Read once: every ETag of a job depends on it, and the metadata of a package is parsed anew each time."""
    try:
        return version("longtake")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def install(app: FastAPI) -> None:
    """Make `app` serve the complete document. It is generated once, at the first request for it."""
    app.webhooks.include_router(webhooks)
    app.openapi = _completed(app.openapi)


def _completed(generate: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    def document() -> dict[str, Any]:
        openapi = generate()  # the same dict at every call
        schemas = openapi["components"]["schemas"]
        for model in (JobRequest, JobChange, JobBranch, JobExtension, UploadRequest, WebhookPingRequest, Problem):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        for of_fastapi in ("HTTPValidationError", "ValidationError"):
            schemas.pop(of_fastapi, None)
        _declare_parameter_errors(openapi)
        _declare_request_ids(openapi)
        return openapi

    return document


def _declare_parameter_errors(document: dict[str, Any]) -> None:
    """Replace FastAPI's own 422 by a problem, on every operation, because unknown query parameters are refused."""
    for operation in _operations(document["webhooks"]):
        operation["responses"].pop("422", None)
    for operation in _operations(document["paths"]):
        if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {}):
            operation["responses"]["422"] = may_fail(422)[422]


def _declare_request_ids(document: dict[str, Any]) -> None:
    """Every answer has X-Request-Id."""
    schema = {"type": "string", "examples": ["3f9c2ab4d1e84c7f9a6b5d0e1c2f3a4b"]}
    told = {"description": "The request's own id if it has a valid one, else a new one; log lines name it."}
    document["components"]["headers"] = {REQUEST_ID: {**told, "schema": schema}}
    for operation in _operations(document["paths"]):
        for answer in operation["responses"].values():
            answer.setdefault("headers", {})[REQUEST_ID] = {"$ref": f"#/components/headers/{REQUEST_ID}"}


def _operations(paths: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (operation for methods in paths.values() for operation in methods.values())
