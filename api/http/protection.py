"""Which requests need an API key, and of which scope. Paths are as routes declare them, or as clients send them: a
parameter may be anything but a slash.

Open is only what is named here. What begins like a path of operators is one, whatever follows: a path that the router
reads in another way is refused rather than allowed."""

from __future__ import annotations

import re

from core.service.domain.api_keys import Scope

METRICS = "/metrics"
_OPEN = re.compile(
    r"/|/web/[^/]+(?:/[^/]+)?|/favicon\.ico|/healthz|/readyz|/docs|/docs/[^/]+|/openapi\.json|/problems/[^/]+"
)
_OF_OPERATORS = ("/keys", "/status", METRICS)
_LINKED = re.compile(
    r"/jobs/[^/]+/(?:video|video\.mp4|playlist\.m3u8|thumbnail\.jpg|events|metrics|chunks|chunks/[^/]+\.mp4)"
)
_READS = frozenset({"GET", "HEAD"})


def scope_of(method: str, path: str) -> Scope | None:
    """The scope that a request needs where keys are used; None: it needs no key."""
    if method == "OPTIONS" or (method in _READS and _OPEN.fullmatch(path)):
        return None
    if path.startswith(_OF_OPERATORS):
        return Scope.ADMIN
    return Scope.READ if method in _READS else Scope.JOBS


def takes_link_token(method: str, path: str) -> bool:
    """Whether the token of a job's link is enough instead of a key."""
    return method in _READS and _LINKED.fullmatch(path) is not None


def tells_operators_more(path: str) -> bool:
    """Whether a path that is open to all shows more to a key of the scope `admin`."""
    return path == "/readyz"
