"""Call: a request and the reader of its response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel

from client.errors import ClientError
from client.responses import read_model

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_SECONDS = 30.0
SAFE_METHODS = frozenset({"GET", "PUT", "DELETE"})
"""Methods whose effect is the same however often a request arrives (RFC 9110, 9.2.2)."""
T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """`options` are keyword arguments of httpx's `request`. `content` makes a body that can be read once, anew for each
    attempt. `is_repeatable`: the call may be sent again although its method does not say so. `if_gone` is the result if
    a repeated call finds nothing any more: the attempt before it had arrived."""

    method: str
    url: str
    read: Callable[[httpx.Response], T]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    content: Callable[[], Iterable[bytes]] | None = None
    is_repeatable: bool = False
    if_gone: Callable[[], T] | None = None

    @property
    def can_be_repeated(self) -> bool:
        """Whether sending it twice has the effect of sending it once."""
        return self.is_repeatable or self.method in SAFE_METHODS


def checked_url(url: str) -> str:
    """`url` without a slash at its end. Raises ClientError if it is no http(s) URL."""
    try:
        is_http = httpx.URL(url).scheme in {"http", "https"}
    except httpx.InvalidURL:
        is_http = False
    if not is_http:
        raise ClientError(f"{url!r} is not the URL of an API", fix=f"for example {DEFAULT_URL}")
    return url.rstrip("/")


ModelT = TypeVar("ModelT", bound=BaseModel)


def reads(model: type[ModelT]) -> Callable[[httpx.Response], ModelT]:
    """A reader of responses that are this model. It raises ApiUnreadable."""
    return lambda response: read_model(response, model)


def nothing(_: httpx.Response | None = None) -> None:
    """A reader of responses without a body."""


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
