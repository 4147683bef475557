"""Errors under /v1 in OpenAI's form, `{"error": {...}}`: every problem that leaves the API is rewritten.

An invalid field is 400 there, not 422. All else of an error stays: its status, its code, Retry-After.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.paths import path_of
from api.http.problems import MEDIA_TYPE, Problem
from api.openai.answers import ErrorAnswer, ErrorObject

PREFIX = "/v1/"
STATUS_OF = {422: 400}
"""Statuses that change."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_PARAMS = {"image": "input_reference", "job_id": "video_id", "num_frames": "seconds", "refine.size": "size"}
"""Fields that have another name under /v1."""


class OpenAiErrors:
    """ASGI middleware: outside of all that answers with problems."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] == "http" and path_of(scope).startswith(PREFIX)
        await self._app(scope, receive, _Rewriting(send) if is_ours else send)


class _Rewriting:
    """Sends a response as it is, or a problem in OpenAI's form once it is complete."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        headers = MutableHeaders(raw=start["headers"])
        body = error_of(Problem.model_validate_json(self._body)).model_dump_json().encode() if self._body else b""
        headers["content-type"] = "application/json"
        if body:
            headers["content-length"] = str(len(body))
        else:  # of a HEAD
            del headers["content-length"]
        status = STATUS_OF.get(start["status"], start["status"])
        await self._send({**start, "status": status, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})


def _is_problem(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type") == MEDIA_TYPE


def error_of(problem: Problem) -> ErrorAnswer:
    """The same error in OpenAI's form. `param` has the name that the field has under /v1."""
    of_status = "server_error" if problem.status >= 500 else "invalid_request_error"
    field = problem.field and _PARAMS.get(problem.field, problem.field)
    return ErrorAnswer(
        error=ErrorObject(
            message="; ".join(filter(None, (problem.detail.rstrip("."), problem.fix))),
            type=_TYPES.get(problem.status, of_status),
            param=field,
            code=problem.code,
        )
    )
