"""A page for each error code: the target of `type` in a problem document."""

from __future__ import annotations

import inspect

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from api.http.problems import UnknownPath, documented_errors, kind_of
from core.service.domain.errors import shortened

router = APIRouter(include_in_schema=False)


@router.get("/problems/{code}", response_class=PlainTextResponse)
async def problem_page(code: str) -> str:
    error_class = documented_errors().get(code)
    if error_class is None:
        raise UnknownPath(f"there is no error code {shortened(code, 64)}", fix="see /docs")
    return f"{code} (HTTP {kind_of(error_class).status})\n\n{inspect.getdoc(error_class)}\n"
