"""The OpenAPI document beyond what FastAPI generates from the routes: request bodies, problems, webhooks.

Schemas of request bodies are added by hand because core.service.admission.admission parses them, more strictly than
FastAPI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.http.examples import (
    BRANCH_EXAMPLES,
    CHANGE_EXAMPLES,
    EXAMPLES,
    EXTENSION_EXAMPLES,
    KEY_CHANGE_EXAMPLES,
    KEY_EXAMPLES,
    PING_EXAMPLES,
    ROTATION_EXAMPLES,
    UPLOAD_EXAMPLES,
)
from api.http.openapi_webhooks import webhooks
from api.http.problems import CHALLENGE, MEDIA_TYPE, Problem
from api.http.protection import scope_of, takes_link_token
from api.http.request_ids import HEADER as REQUEST_ID
from core.service.domain.api_keys import Scope
from core.service.domain.key_schema import KeyChange, KeyRequest, KeyRotation
from core.service.domain.schema import (
    JobBranch,
    JobChange,
    JobEvent,
    JobExtension,
    JobRequest,
    StepProgress,
    WebhookPingRequest,
)
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
    404: "The job, upload or API key does not exist, or the resource does not exist yet (see `code`).",
    409: "The job's status does not allow this, or its id is taken; the API key is revoked, or no keys are used.",
    413: "The body is larger than 64 KiB; a batch: 1 MiB.",
    415: "The body is not declared as application/json, or is compressed.",
    416: "The video does not have the requested `Range`.",
    422: "A field or parameter is invalid; `errors` lists all.",
    429: "This client has too many of these open, or a limit of its API key is reached.",
    503: "The service is at its limit, or a server behind it does not answer.",
}


SECURITY_SCHEMES: dict[str, dict[str, str]] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, if the deployment uses them (LONGTAKE_ADMIN_KEY); else everybody may everything.",
    },
    "link": {"type": "apiKey", "in": "query", "name": "token", "description": "As it stands in a job's `links`."},
}


def _body(model: type[BaseModel], examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}, "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


REQUEST_BODY = _body(JobRequest, EXAMPLES)
CHANGE_BODY = _body(JobChange, CHANGE_EXAMPLES)
BRANCH_BODY = _body(JobBranch, BRANCH_EXAMPLES)
EXTENSION_BODY = _body(JobExtension, EXTENSION_EXAMPLES)
UPLOAD_BODY = _body(UploadRequest, UPLOAD_EXAMPLES)
KEY_BODY = _body(KeyRequest, KEY_EXAMPLES)
KEY_CHANGE_BODY = _body(KeyChange, KEY_CHANGE_EXAMPLES)
ROTATION_BODY = _body(KeyRotation, ROTATION_EXAMPLES)
PING_BODY = _body(WebhookPingRequest, PING_EXAMPLES)
_OF_KEYS = (KEY_BODY, KEY_CHANGE_BODY, ROTATION_BODY)
_BODIES = (REQUEST_BODY, CHANGE_BODY, BRANCH_BODY, EXTENSION_BODY, UPLOAD_BODY, PING_BODY, *_OF_KEYS)


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


LIMIT_HEADERS: dict[str, Any] = {
    "RateLimit-Policy": {
        "description": "Only for a key with `requests_per_minute`: `q` requests in `w` seconds.",
        "schema": {"type": "string", "examples": ['"requests";q=600;w=60']},
    },
    "RateLimit": {
        "description": "The same: `r` requests are left for `t` seconds.",
        "schema": {"type": "string", "examples": ['"requests";r=412;t=23']},
    },
}
"""draft-ietf-httpapi-ratelimit-headers-11."""


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


_OF_JOBS = (JobRequest, JobChange, JobBranch, JobExtension, JobEvent, StepProgress)
_DECLARED = (*_OF_JOBS, UploadRequest, WebhookPingRequest, KeyRequest, KeyChange, KeyRotation, Problem)
"""Models that no route names."""


def operation_id(route: APIRoute) -> str:
    """Name of an operation in generated clients: that of its function, which is unique but for OpenAI's form."""
    return f"openai_{route.name}" if "openai" in route.tags else route.name


Step = Callable[[dict[str, Any]], None]
"""Completes the document in place."""


def install(app: FastAPI, *more: Step) -> None:
    """Make `app` serve the complete document. It is generated once, at the first request for it. `more`: further
    steps, after all of this module."""
    app.webhooks.include_router(webhooks)
    app.openapi = cache(_completed(app.openapi, (*_STEPS, *more)))


def _completed(generate: Callable[[], dict[str, Any]], steps: Iterable[Step]) -> Callable[[], dict[str, Any]]:
    def document() -> dict[str, Any]:
        openapi = generate()
        for step in steps:
            step(openapi)
        return openapi

    return document


def declare_models(document: dict[str, Any], models: Iterable[type[BaseModel]]) -> None:
    """Add the schemas of models that no route names."""
    schemas = document["components"]["schemas"]
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema


def operations(paths: dict[str, dict[str, Any]], prefix: str = "") -> Iterator[dict[str, Any]]:
    """Those whose path begins with `prefix`."""
    return (each for path, methods in paths.items() if path.startswith(prefix) for each in methods.values())


def _declare_models(document: dict[str, Any]) -> None:
    """Also removes those of FastAPI's own errors."""
    declare_models(document, _DECLARED)
    for of_fastapi in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(of_fastapi, None)


def _keep_nulls_of_examples(document: dict[str, Any]) -> None:
    """FastAPI leaves out what is null, which is a value of `num_frames`."""
    examples = {content["schema"]["$ref"]: content["examples"] for content in map(_json_of, _BODIES)}
    for operation in operations(document["paths"]):
        content = _json_of(operation)
        if (of_schema := content.get("schema", {}).get("$ref")) in examples:
            content["examples"] = examples[of_schema]


def _json_of(operation: dict[str, Any]) -> dict[str, Any]:
    return operation.get("requestBody", {}).get("content", {}).get("application/json", {})


def _declare_parameter_errors(document: dict[str, Any]) -> None:
    """Replace FastAPI's own 422 by a problem, on every operation, because unknown query parameters are refused."""
    for operation in operations(document["webhooks"]):
        operation["responses"].pop("422", None)
    for operation in operations(document["paths"]):
        if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {}):
            operation["responses"]["422"] = may_fail(422)[422]


def _declare_access(document: dict[str, Any]) -> None:
    """What needs a key, or the token of a link, and how it is refused."""
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            needed = scope_of(method.upper(), path)
            if needed is None:
                continue
            is_linked = takes_link_token(method.upper(), path)
            operation["security"] = [{"key": []}, *([{"link": []}] if is_linked else [])]
            refusals = may_fail(401, 403) if is_linked or needed is not Scope.READ else may_fail(401)
            operation["responses"] |= {str(status): answer for status, answer in refusals.items()}
            operation["responses"]["401"]["headers"] = {"WWW-Authenticate": {"schema": {"const": CHALLENGE}}}


def _declare_request_ids(document: dict[str, Any]) -> None:
    """Every answer has X-Request-Id."""
    schema = {"type": "string", "examples": ["3f9c2ab4d1e84c7f9a6b5d0e1c2f3a4b"]}
    told = {"description": "The request's own id if it has a valid one, else a new one; log lines name it."}
    document["components"]["headers"][REQUEST_ID] = {**told, "schema": schema}
    for operation in operations(document["paths"]):
        for answer in operation["responses"].values():
            answer.setdefault("headers", {})[REQUEST_ID] = {"$ref": f"#/components/headers/{REQUEST_ID}"}


def _declare_request_limits(document: dict[str, Any]) -> None:
    """Every answer to a key with a limit of requests tells of it, and each may be refused for it."""
    document["components"].setdefault("headers", {}).update(LIMIT_HEADERS)
    told = {name: {"$ref": f"#/components/headers/{name}"} for name in LIMIT_HEADERS}
    for operation in operations(document["paths"]):
        if "security" in operation:
            refusal = operation["responses"].setdefault("429", may_fail(429)[429])
            refusal["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
            for answer in operation["responses"].values():
                answer.setdefault("headers", {}).update(told)


_STEPS: tuple[Step, ...] = (
    _declare_models,
    _keep_nulls_of_examples,
    _declare_access,
    _declare_parameter_errors,
    _declare_request_limits,
    _declare_request_ids,
)
