"""The scope that a request needs, by the route that it has reached: Access decides by the path, before routing."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from fastapi import Request
from fastapi.routing import APIRoute

from api.access.caller import Caller, caller_of
from api.access.links import opens_by_link
from api.http.protection import scope_of
from core.service.domain.api_keys import Scope
from core.service.domain.errors import KeyRefused, ScopeMissing

_scope_of_route = lru_cache(maxsize=1000)(scope_of)
"""Of a route's path as it is declared."""


async def enough_scope(request: Request) -> None:
    """A dependency of all routes. Raises KeyRefused, ScopeMissing."""
    caller = caller_of(request)
    if caller.is_everybody:
        return
    needed = _scope_of_route(request.method, cast(APIRoute, request.scope["route"]).path)
    if needed is None:
        return
    if caller.key is None and not (caller.token and opens_by_link(request)):
        raise KeyRefused
    check_scope(caller, needed)


def check_scope(caller: Caller, needed: Scope) -> None:
    """Raises ScopeMissing if the caller has a key that may not do what needs this scope."""
    if caller.key is not None and not caller.key.may(needed):
        raise ScopeMissing(
            f"this needs a key of the scope {needed}", fix="use another key, or ask the operator for one"
        )
