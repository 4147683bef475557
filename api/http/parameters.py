"""Refuses unknown and repeated query parameters, so that a typo is not silently ignored.

A dependency of all routes. Media and health checks are exempt: players and load balancers append parameters to URLs.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api.http.problems import MAX_ERRORS, UnknownParameter
from core.service.domain.errors import InvalidField, RequestError, shortened

EXEMPT_TAGS = frozenset({"media", "health"})


async def known_parameters(request: Request) -> None:
    """Raises UnknownParameter or InvalidField for the first error; `also` has the others."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    if not isinstance(route, APIRoute) or not route.include_in_schema or EXEMPT_TAGS.intersection(route.tags):
        return
    errors = errors_of([name for name, _ in request.query_params.multi_items()], names_of(route))
    if errors:
        errors[0].also = tuple(errors[1:])
        raise errors[0]


def names_of(route: APIRoute) -> list[str]:
    """Names of a route's query parameters."""
    return [*_names_of(route.dependant)]


def _names_of(dependant: Dependant) -> Iterator[str]:
    """Those of the route, then those of its dependencies."""
    yield from (field.alias for field in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _names_of(dependency)


def errors_of(given: Sequence[str], known: Sequence[str]) -> list[RequestError]:
    """One error for each unknown or repeated name, at most MAX_ERRORS."""
    wrong = [(name, times) for name, times in Counter(given).items() if name not in known or times > 1]
    return [_repeated(name) if name in known else _unknown(name, known) for name, _ in wrong[:MAX_ERRORS]]


def _unknown(name: str, known: Sequence[str]) -> UnknownParameter:
    shown = shortened(name, 64)
    near = difflib.get_close_matches(shown, known, n=1)
    others = f"; the parameters are {', '.join(known)}" if known else "; there are none here"
    fix = f"did you mean {near[0]}?" if near else f"leave it out{others}"
    return UnknownParameter(f"there is no parameter {shown}", field=shown, fix=fix)


def _repeated(name: str) -> InvalidField:
    return InvalidField(f"{name} is given more than once", field=name, fix="give it once")
