"""Responses become models or exceptions, the same for the sync and the async client. No I/O."""

from __future__ import annotations

from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from client.errors import ApiError, ApiUnreachable, ApiUnreadable, ClientError, StorageUnreachable, class_of

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_model(response: httpx.Response, model: type[ModelT]) -> ModelT:
    """The body as `model`; unknown fields are ignored. Raises ApiUnreadable."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"]) or "the body"
        raise ApiUnreadable(
            f"{origin(response.request.url)} answers what this longtake cannot read: {field}",
            fix="use the longtake of the same version as the API",
        ) from error


def error_of(response: httpx.Response) -> ApiError:
    """The exception for an error status. The body must have been read."""
    problem = _problem(response)
    if problem is None:
        # The query is left out: it can hold a signature.
        message, problem = f"HTTP {response.status_code} from {response.request.url.copy_with(query=None)}", {}
    else:
        message = str(problem.get("detail") or problem.get("title") or f"HTTP {response.status_code}")
    return class_of(response.status_code)(
        message,
        status=response.status_code,
        code=problem.get("code"),
        field=problem.get("field"),
        fix=problem.get("fix"),
        retry_after_seconds=_retry_after(response),
        request_id=response.headers.get("x-request-id"),
    )


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    """The body of a problem+json answer (RFC 9457), None for anything else."""
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of Retry-After; its form with a date is not used by the API."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None


def unreachable(error: httpx.RequestError, base_url: str) -> ClientError:
    """The exception for a request without a response: StorageUnreachable if it went to another host than the API."""
    url = _asked(error)
    if url is None or origin(url) == origin(httpx.URL(base_url)):
        return ApiUnreachable(f"{base_url} does not answer: {error}", fix="is `longtake up` running?")
    message = f"the object storage at {url.netloc.decode()} does not answer: {error}"
    return StorageUnreachable(message, fix="is it running, and can this machine reach it?")


def _asked(error: httpx.RequestError) -> httpx.URL | None:
    try:
        return error.request.url
    except RuntimeError:  # raised by httpx if the error has no request
        return None


def origin(url: httpx.URL) -> str:
    """Scheme, host and port."""
    return f"{url.scheme}://{url.netloc.decode()}"
