"""Answers 304 to polls of a job that has not changed, before anything is routed.

Most requests of a busy service are such polls. Routing, dependencies and the route cost more than all the rest of
their answer.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.caller import Caller, caller_of
from api.access.links import base_urls_of
from api.backends.looks import Looks
from api.http.openapi import api_version
from api.http.paths import path_of
from api.http.responses import etag_of, matches, not_modified
from core.service.domain.errors import StoreError
from core.service.domain.views import PublicUrls

_PATH = re.compile(r"/jobs/([^/]+)")
_INCLUDES = {b"": None, b"include=chunks": "chunks"}
"""The query strings of GET /jobs/{id}. All others are left to the route."""


def job_etag(caller: Caller, base_url: PublicUrls, include: str | None, mark: str) -> str:
    """The ETag of an answer about a job; `mark` is from ports.JobStore. Another for each key: who has learned that of
    another key's job is not told whether there is such a job."""
    return etag_of(f"{api_version()} {caller.owner} {base_url} {include} {mark}")


@dataclass(frozen=True)
class _Route:
    """What api/http/measured.py reads of a route."""

    path: str


_JOB = _Route("/jobs/{job_id}")


class UnchangedJobs:
    """ASGI middleware, the innermost: what it does not answer is routed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        etag = await _unchanged(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if etag is not None:
            scope["route"] = _JOB
        await (self._app if etag is None else not_modified(etag))(scope, receive, send)


async def _unchanged(scope: Scope) -> str | None:
    """The ETag of the job that the request asks for, if it is one that the client has."""
    found, query = _PATH.fullmatch(path_of(scope)), scope["query_string"]
    request = Request(scope)
    known = request.headers.get("if-none-match", "*")
    if found is None or query not in _INCLUDES or known == "*":  # an asterisk asks whether there is a job at all
        return None
    with suppress(StoreError):  # the route tells it
        mark = await cast(Looks, scope["app"].state.looks).mark(found[1])
        shown = (caller_of(request), base_urls_of(request), _INCLUDES[query])
        etag = job_etag(*shown, mark) if mark is not None else None
        return etag if etag is not None and matches(known, etag) else None
    return None
