"""Misbehaving webhook receivers, each on its own port."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from tests.helpers.canned_server import RESET, answering, unreachable_port

Hostile = Callable[[], AbstractContextManager[int]]
"""Makes a receiver; its port."""


def _head(status: str, *lines: bytes) -> bytes:
    return b"\r\n".join([f"HTTP/1.1 {status}".encode(), *lines, b"", b""])


SILENT: dict[str, Hostile] = {
    "never answers": partial(answering, None),
    "swallows connections": unreachable_port,
    "says nothing but 100 Continue": partial(answering, _head("100 Continue") * 100, hang_up=False),
    "greets and waits": partial(answering, b"220 mail.example.com ESMTP\r\n", hang_up=False),
    "stops in its headers": partial(answering, b"HTTP/1.1 200 OK\r\nX-A: b", hang_up=False),
}
"""They use up all the time that they are given."""

FAILING: dict[str, Hostile] = {
    "resets": partial(answering, RESET),
    "redirects to xn--": partial(answering, _head("302 Found", b"Location: http://xn--/", b"Content-Length: 0")),
    "has a Retry-After beyond all time": partial(
        answering, _head("503 No", b"Retry-After: Mon, 01 Jan 2026 00:00:00 +99999999999999", b"Content-Length: 0")
    ),
    "has bytes in its Retry-After": partial(answering, _head("503 No", b"Retry-After: \xff\xfe", b"Content-Length: 0")),
    "is no HTTP server": partial(answering, b"SSH-2.0-OpenSSH_10.0\r\n\r\n", hang_up=False),
    "has broken headers": partial(answering, _head("200 OK", b"X-\xff\x00: \x01"), hang_up=False),
    "has headers without end": partial(answering, b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1_000_000, hang_up=False),
    "floods with 100 Continue": partial(answering, _head("100 Continue") * 50_000, hang_up=False),
    "hangs up": partial(answering, b""),
}
"""They fail at once."""

ACCEPTING: dict[str, Hostile] = {
    "hangs in its body": partial(answering, _head("200 OK", b"Content-Length: 1000000"), hang_up=False),
    "announces chunks that never come": partial(
        answering, _head("204 Gone on", b"Transfer-Encoding: chunked"), hang_up=False
    ),
    "cuts its body off": partial(answering, _head("200 OK", b"Content-Length: 5") + b"ok"),
    "has a body without end": partial(answering, _head("202 Taken") + b"x" * 3_000_000, hang_up=False),
}
"""Their status line says that they have it."""
