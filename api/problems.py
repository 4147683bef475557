"""Errors as answers: every LongtakeError class becomes a status and an RFC 9457 problem document.

The only place that knows which status an error has. What clients cannot act on (a broken preset, an unreachable
storage, a bug) is logged in full and told without detail.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from core.service import errors
from core.service.admission import error_of_detail
from core.service.errors import LongtakeError, RequestError

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


class UnknownPath(LongtakeError):
    """There is nothing at this path."""

    code = "not_found"


class MethodNotAllowed(LongtakeError):
    """This path does not take this method."""

    code = "method_not_allowed"


class BodyTooLarge(LongtakeError):
    """The request's body is too large."""

    code = "body_too_large"


class NotJson(LongtakeError):
    """The request's Content-Type is not application/json."""

    code = "unsupported_media_type"


class InternalError(LongtakeError):
    """Something went wrong inside the service; it has been logged."""


@dataclass(frozen=True)
class Kind:
    """How a class of errors is answered. `told` says whether the error's own words reach the client."""

    status: int
    retry_after_seconds: int | None = None
    told: bool = True


_OUTAGES: tuple[type[LongtakeError], ...] = (
    errors.StoreError, errors.StoreUnavailable, errors.StoreReadOnly, errors.StoreFull, errors.StoreDamaged,
    errors.StoreMisconfigured, errors.StorageError, errors.StorageUnavailable, errors.StorageReadOnly,
    errors.StorageFull, errors.StorageMisconfigured, errors.ObjectNotFound, errors.ObjectDamaged,
)  # fmt: skip
"""Servers behind this one that do not do what was asked: a client can only come back later."""

KINDS: dict[type[LongtakeError], Kind] = {
    LongtakeError: Kind(500, told=False),
    errors.RequestError: Kind(422),
    errors.MalformedJson: Kind(400),
    errors.JobNotFound: Kind(404),
    errors.JobStateConflict: Kind(409),
    errors.VideoNotReady: Kind(404, retry_after_seconds=2),
    errors.PlaylistNotReady: Kind(404, retry_after_seconds=2),
    errors.ServiceFull: Kind(503, retry_after_seconds=30),
    errors.TooManyUploads: Kind(429, retry_after_seconds=60),
    errors.UploadUnknown: Kind(404),
    errors.PresetError: Kind(503, retry_after_seconds=30, told=False),
    errors.ModelNotInstalled: Kind(503),
    **dict.fromkeys(_OUTAGES, Kind(503, retry_after_seconds=5, told=False)),
    errors.NameServiceUnavailable: Kind(503, retry_after_seconds=5),
    UnknownPath: Kind(404),
    MethodNotAllowed: Kind(405),
    BodyTooLarge: Kind(413),
    NotJson: Kind(415),
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
    errors: list[ProblemError] = Field(default=[], description="All errors found in the request, this one first.")


def problem_of(error: LongtakeError) -> Problem:
    """The document that tells of `error`."""
    kind, title = kind_of(type(error)), _title(type(error))
    found = (error, *error.also) if isinstance(error, RequestError) else ()
    return Problem(
        type=f"/problems/{error.code}",
        title=title,
        status=kind.status,
        detail=error.message if kind.told else title,
        code=error.code,
        field=error.field if kind.told else None,
        fix=error.fix if kind.told else "try again later; if it stays, tell the operator",
        errors=[ProblemError(code=e.code, detail=e.message, field=e.field, fix=e.fix) for e in found],
    )


def kind_of(error_class: type[LongtakeError]) -> Kind:
    """How errors of a class are answered: as its nearest ancestor in KINDS."""
    return next(KINDS[ancestor] for ancestor in error_class.__mro__ if ancestor in KINDS)


def documented_errors() -> dict[str, type[LongtakeError]]:
    """Every code that an answer may carry, with its class."""
    return {error.code: error for error in _descendants(LongtakeError) if error in _ANSWERED or _is_request(error)}


def response_of(error: LongtakeError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that ended in `error`."""
    problem, kind = problem_of(error), kind_of(type(error))
    retry = {} if kind.retry_after_seconds is None else {"Retry-After": str(kind.retry_after_seconds)}
    return Response(
        problem.model_dump_json(),
        status_code=kind.status,
        media_type=MEDIA_TYPE,
        headers={**(headers or {}), **retry, "Cache-Control": "no-store"},
    )


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    app.add_exception_handler(LongtakeError, _on_longtake_error)
    app.add_exception_handler(RequestValidationError, _on_bad_parameter)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)


async def _on_longtake_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LongtakeError)
    kind = kind_of(type(error))
    if not kind.told:
        # A server that is away is no bug: one line, and no traceback for each request meanwhile.
        bug = error if kind.retry_after_seconds is None else None
        _log.error("%s %s: %s", request.method, request.url.path, error, exc_info=bug)
    return response_of(error)


async def _on_bad_parameter(_request: Request, error: Exception) -> Response:
    """A query parameter, path or header of the wrong type, found by FastAPI."""
    assert isinstance(error, RequestValidationError)
    details = cast(list[dict[str, Any]], error.errors())
    first, *others = [error_of_detail({**detail, "loc": tuple(detail["loc"])[1:]}) for detail in details]
    first.also = tuple(others)
    return response_of(first)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, wrong method."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return response_of(UnknownPath(f"there is nothing at {request.url.path}", fix="see /docs for all paths"))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        refusal = MethodNotAllowed(f"{request.method} is not possible here", fix=f"use {allowed}")
        return response_of(refusal, error.headers)
    return await _on_bug(request, error)


async def _on_bug(request: Request, error: Exception) -> Response:
    _log.error("%s %s", request.method, request.url.path, exc_info=error)
    return response_of(InternalError())


def _title(error_class: type[LongtakeError]) -> str:
    return (error_class.__doc__ or "").strip().splitlines()[0]


def _descendants(error_class: type[LongtakeError]) -> Iterator[type[LongtakeError]]:
    for child in error_class.__subclasses__():
        yield child
        yield from _descendants(child)


def _is_request(error_class: type[LongtakeError]) -> bool:
    return issubclass(error_class, RequestError)


_ANSWERED = frozenset(KINDS) - {LongtakeError} | {InternalError}
