"""Maps every LongtakeError class to an HTTP status and an RFC 9457 problem document.

Errors that clients cannot act on (a broken preset, an unreachable storage, a bug) are logged in full and answered
without details.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.http.methods import methods_of
from api.http.paths import path_of, prefix_of
from core.service.admission.request_body import error_of_detail
from core.service.domain import errors
from core.service.domain.errors import MAX_ECHO, LongtakeError, RequestError, shortened

MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="longtake"'
"""WWW-Authenticate of every 401 (RFC 6750, 3)."""
MAX_TEXT = 1000
"""Longest text of a problem's field. Text from the client is cut to MAX_ECHO within it."""
MAX_ERRORS = 50
"""Maximum of errors in one problem."""
_log = logging.getLogger(__name__)


class UnknownPath(LongtakeError):
    """There is nothing at this path."""

    code = "not_found"


class UnknownModelPath(errors.UnknownModel):
    """The path names a model that does not exist."""


class MethodNotAllowed(LongtakeError):
    """This path does not take this method."""

    code = "method_not_allowed"


class BodyTooLarge(LongtakeError):
    """The request's body is too large."""

    code = "body_too_large"


class NotJson(LongtakeError):
    """The request's Content-Type is not application/json."""

    code = "unsupported_media_type"


class EncodedBody(NotJson):
    """The request's body is compressed."""

    code = "content_encoding_not_supported"


class UnknownParameter(RequestError):
    """The URL has a query parameter that does not exist."""

    code = "unknown_parameter"


class HostNotAllowed(LongtakeError):
    """This server does not answer to this host name."""

    code = "host_not_allowed"


class MalformedHttp(LongtakeError):
    """The request is not valid HTTP."""

    code = "malformed_http"


class HeadersTooLarge(LongtakeError):
    """The request's headers are too large."""

    code = "headers_too_large"


class RequestTooSlow(LongtakeError):
    """The request did not arrive completely in time."""

    code = "request_timeout"


class InternalError(LongtakeError):
    """Something went wrong inside the service; it has been logged."""


@dataclass(frozen=True)
class ProblemKind:
    """How a class of errors is answered. `is_public`: whether clients see the error's message."""

    status: int
    retry_after_seconds: int | None = None
    is_public: bool = True


_OUTAGES: tuple[type[LongtakeError], ...] = (
    errors.StoreError, errors.StoreUnavailable, errors.StoreReadOnly, errors.StoreFull, errors.StoreDamaged,
    errors.StoreMisconfigured, errors.StorageError, errors.StorageUnavailable, errors.StorageReadOnly,
    errors.StorageFull, errors.StorageMisconfigured, errors.ObjectNotFound, errors.ObjectDamaged,
)  # fmt: skip
"""Failures of the servers behind this one: a client can only retry later."""

KINDS: dict[type[LongtakeError], ProblemKind] = {
    LongtakeError: ProblemKind(500, is_public=False),
    errors.RequestError: ProblemKind(422),
    **dict.fromkeys((errors.MalformedJson, errors.MalformedForm), ProblemKind(400)),
    errors.InvalidIdempotencyKey: ProblemKind(400),
    errors.KeyRefused: ProblemKind(401),
    **dict.fromkeys((errors.ScopeMissing, errors.LinkExpired), ProblemKind(403)),
    **dict.fromkeys((errors.JobNotFound, errors.KeyNotFound), ProblemKind(404)),
    **dict.fromkeys((errors.DeliveryNotFound, errors.PingNotFound), ProblemKind(404)),
    **dict.fromkeys((errors.KeyRevoked, errors.KeysNotUsed, errors.DeliveryConflict), ProblemKind(409)),
    errors.LimitReached: ProblemKind(429),
    errors.UsageUnknown: ProblemKind(503, retry_after_seconds=5),
    **dict.fromkeys((errors.JobStateConflict, errors.JobExists, errors.JobDeleted), ProblemKind(409)),
    errors.RequestInFlight: ProblemKind(409, retry_after_seconds=1),
    errors.VideoNotReady: ProblemKind(404, retry_after_seconds=2),
    errors.MetricsNotReady: ProblemKind(404, retry_after_seconds=2),
    errors.MetricsNotAsked: ProblemKind(404),
    errors.MeasuringFailed: ProblemKind(409),
    errors.ThumbnailNotReady: ProblemKind(404, retry_after_seconds=2),
    errors.PlaylistNotReady: ProblemKind(404, retry_after_seconds=2),
    errors.ChunkNotReady: ProblemKind(404, retry_after_seconds=2),
    errors.ChunkNotFound: ProblemKind(404),
    errors.RangeNotSatisfiable: ProblemKind(416),
    errors.MediaBusy: ProblemKind(503, retry_after_seconds=5),
    errors.TooManyMediaStreamsOfClient: ProblemKind(429, retry_after_seconds=5),
    errors.ServiceFull: ProblemKind(503, retry_after_seconds=30),
    errors.TooManyStreams: ProblemKind(503, retry_after_seconds=30),
    errors.TooManyStreamsOfClient: ProblemKind(429, retry_after_seconds=30),
    errors.TooManyUploads: ProblemKind(429),
    errors.UploadUnknown: ProblemKind(404),
    errors.PresetError: ProblemKind(503, retry_after_seconds=30, is_public=False),
    errors.ModelNotInstalled: ProblemKind(503),
    **dict.fromkeys(_OUTAGES, ProblemKind(503, retry_after_seconds=5, is_public=False)),
    errors.NameServiceUnavailable: ProblemKind(503, retry_after_seconds=5),
    **dict.fromkeys((UnknownPath, UnknownModelPath), ProblemKind(404)),
    MethodNotAllowed: ProblemKind(405),
    BodyTooLarge: ProblemKind(413),
    NotJson: ProblemKind(415),
    EncodedBody: ProblemKind(415),
    HostNotAllowed: ProblemKind(421),
    MalformedHttp: ProblemKind(400),
    HeadersTooLarge: ProblemKind(431),
    RequestTooSlow: ProblemKind(408),
}


class ProblemError(BaseModel):
    """One of several errors in a request."""

    code: str
    detail: str
    field: str | None
    fix: str | None


class Problem(BaseModel):
    """RFC 9457 problem document. `code` is stable; `field` and `fix` say what to change."""

    type: str = Field(description="Where this kind of problem is described.", examples=["/problems/too_few_frames"])
    title: str = Field(examples=["A video has at least 16 frames."])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["num_frames asks for 8 frames; a video has at least 16"])
    code: str = Field(examples=["too_few_frames"])
    field: str | None = Field(default=None, examples=["num_frames"])
    fix: str | None = Field(default=None, examples=["give at least 16 frames (2 seconds at 8 fps)"])
    errors: list[ProblemError] = Field(
        default=[], description=f"All errors of the request, this one first; at most {MAX_ERRORS}."
    )


def problem_of(error: LongtakeError, prefix: str = "") -> Problem:
    """The problem document of `error`. `prefix` is the path prefix of the public URL (paths.prefix_of)."""
    kind, title = kind_of(type(error)), _title(type(error))
    found = (error, *error.also) if isinstance(error, RequestError) else ()
    return Problem(
        type=f"{prefix}/problems/{error.code}",
        title=title,
        status=kind.status,
        detail=_cut(error.message) if kind.is_public else title,
        code=error.code,
        field=error.field and _cut(error.field) if kind.is_public else None,
        fix=error.fix and _cut(error.fix) if kind.is_public else "try again later; if it persists, tell the operator",
        errors=[
            ProblemError(
                code=e.code,
                detail=_cut(e.message),
                field=e.field and _cut(e.field),
                fix=e.fix and _cut(e.fix),
            )
            for e in found[:MAX_ERRORS]
        ],
    )


def _cut(text: str) -> str:
    return shortened(text, MAX_TEXT)


def kind_of(error_class: type[LongtakeError]) -> ProblemKind:
    """How errors of a class are answered: its own entry in KINDS or that of its nearest ancestor."""
    return next(KINDS[ancestor] for ancestor in error_class.__mro__ if ancestor in KINDS)


def documented_errors() -> dict[str, type[LongtakeError]]:
    """Every code that a problem may have, with the most general class that has it."""
    answered = [error for error in _descendants(LongtakeError) if error in _ANSWERED or _is_request(error)]
    return {error.code: error for error in reversed(answered)}


def response_of(error: LongtakeError, headers: Mapping[str, str] | None = None, prefix: str = "") -> Response:
    """The response to a request that failed with `error`."""
    problem, kind = problem_of(error, prefix), kind_of(type(error))
    wait = error.retry_seconds if isinstance(error, errors.LimitReached) else kind.retry_after_seconds
    retry = {} if wait is None else {"Retry-After": str(wait)}
    challenge = {"WWW-Authenticate": CHALLENGE} if kind.status == HTTPStatus.UNAUTHORIZED else {}
    return Response(
        problem.model_dump_json(),
        status_code=kind.status,
        media_type=MEDIA_TYPE,
        headers={**(headers or {}), **retry, **challenge, "Cache-Control": "no-store"},
    )


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    app.add_exception_handler(LongtakeError, _on_longtake_error)
    app.add_exception_handler(RequestValidationError, _on_bad_parameter)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_longtake_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LongtakeError)
    note(request, error)
    headers = {"Accept-Encoding": "identity"} if isinstance(error, EncodedBody) else None  # RFC 9110, 15.5.16
    return response_of(error, headers, prefix_of(request.scope))


def note(request: Request, error: LongtakeError) -> None:
    """Log an error that the client's answer does not explain."""
    kind = kind_of(type(error))
    if not kind.is_public:
        # An outage is no bug: log one line without a traceback for each request.
        bug = error if kind.retry_after_seconds is None else None
        _log.error("%s %s: %s", request.method, shortened(request.url.path), error, exc_info=bug)


async def _on_bad_parameter(request: Request, error: Exception) -> Response:
    """A query parameter, path or header of the wrong type, refused by FastAPI."""
    assert isinstance(error, RequestValidationError)
    details = cast(list[dict[str, Any]], error.errors())
    first, *others = [error_of_detail({**detail, "loc": tuple(detail["loc"])[1:]}) for detail in details]
    first.also = tuple(others)
    return response_of(first, prefix=prefix_of(request.scope))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own errors: unknown path, wrong method."""
    assert isinstance(error, HTTPException)
    allowed = methods_of(request.app, request.scope)
    prefix = prefix_of(request.scope)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and allowed:
        names = ", ".join(allowed)
        refusal = MethodNotAllowed(f"this path does not allow {shortened(request.method, 20)}", fix=f"use {names}")
        return response_of(refusal, {"Allow": names}, prefix)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return _not_found(request, prefix)
    _log.error("%s %s", request.method, shortened(request.url.path), exc_info=error)
    return response_of(InternalError(), prefix=prefix)


def _not_found(request: Request, prefix: str) -> Response:
    """404; for a path with a trailing slash, a redirect to the path without it if that exists."""
    path = path_of(request.scope)
    bare = path.removesuffix("/")
    if bare != path and methods_of(request.app, {**request.scope, "path": bare, "root_path": ""}):
        query = f"?{request.url.query}" if request.url.query else ""
        if len(bare) + len(query) <= MAX_ECHO:
            return RedirectResponse(f"{prefix}{quote(bare)}{query}", status_code=307)
    error = UnknownPath(f"there is nothing at {shortened(path)}", fix="see /docs for all paths")
    return response_of(error, prefix=prefix)


def _title(error_class: type[LongtakeError]) -> str:
    return (error_class.__doc__ or "").strip().splitlines()[0]


def _descendants(error_class: type[LongtakeError]) -> Iterator[type[LongtakeError]]:
    for child in error_class.__subclasses__():
        yield child
        yield from _descendants(child)


def _is_request(error_class: type[LongtakeError]) -> bool:
    return issubclass(error_class, RequestError)


_ANSWERED = frozenset(KINDS) - {LongtakeError} | {InternalError}
