"""Runs the API: `python -m api.server`. uvicorn with limits that it lacks: half-sent requests and answers that nobody
takes end, framing is strict.

Knows bytes, connections and clocks; nothing of jobs. A request must come in whole within
LONGTAKE_REQUEST_TIMEOUT_SECONDS, counted from its first byte (on a new connection from the beginning): slow headers,
slow bodies and connections that say nothing end alike, so they cannot keep the API from others. Of an answer, whatever
its route, something must be taken every LONGTAKE_MEDIA_STALL_SECONDS.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from api.app import create_app, settings_of_environment
from api.http.problems import HeadersTooLarge, MalformedHttp, RequestTooSlow, response_of
from core.service.domain.errors import LongtakeError
from core.service.settings import Settings

MAX_HEADER_BYTES = 32 * 1024
"""Request line and headers together; more is answered 431."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing drops what was not sent."""
WAITING = frozenset({h11.IDLE, h11.SEND_BODY})
"""States of a client from which more of a request may come."""
_log = logging.getLogger(__name__)


class StrictConnection(h11.Connection):
    """h11 without what RFC 9112 lets a server take and request smuggling lives from."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADER_BYTES)

    def next_event(self) -> Any:
        """As h11's. Raises RemoteProtocolError also where two headers tell different lengths (6.1)."""
        event = super().next_event()
        return _checked(event) if isinstance(event, h11.Request) else event


def _checked(request: h11.Request) -> h11.Request:
    """The request, its absolute-form target (RFC 9112, 3.2.2) taken apart into path and Host."""
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError("this is not HTTP/1")
    if len(request.target) + sum(len(name) + len(value) for name, value in request.headers) > MAX_HEADER_BYTES:
        # h11 counts only what comes in pieces.
        raise h11.RemoteProtocolError("too many bytes of headers", error_status_hint=431)
    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            raise h11.RemoteProtocolError("the request has both Content-Length and Transfer-Encoding")
        if request.http_version < b"1.1":
            raise h11.RemoteProtocolError("HTTP/1.0 has no Transfer-Encoding")
    scheme, found, rest = request.target.partition(b"://")
    if not found or scheme.lower() not in {b"http", b"https"}:
        return request
    host, slash, path = rest.partition(b"/")
    others = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        target=slash + path or b"/",
        headers=[(b"host", host), *others],
        http_version=request.http_version,
    )


class Protocol(H11Protocol):
    """One connection. `request_timeout_seconds` is for each request on it; its client is let go once it has taken
    nothing of an answer for `stall_seconds`."""

    def __init__(self, *args: Any, request_timeout_seconds: float, stall_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = StrictConnection()
        self._request_timeout_seconds = request_timeout_seconds
        self._stall_seconds = stall_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._next_look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that pause_writing is called as soon as anything waits
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        self._stop_looking()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Called when bytes wait for the client, also on a connection that is closed as soon as they are taken."""
        super().pause_writing()
        self._look_again(self._untaken_bytes())

    def resume_writing(self) -> None:
        self._stop_looking()
        super().resume_writing()

    def _look_again(self, untaken_bytes: int) -> None:
        self._next_look = self.loop.call_later(self._stall_seconds, self._look_at_what_is_taken, untaken_bytes)

    def _look_at_what_is_taken(self, untaken_before: int) -> None:
        untaken = self._untaken_bytes()
        if untaken < untaken_before:
            self._look_again(untaken)
        else:
            self._let_go()

    def _stop_looking(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def _untaken_bytes(self) -> int:
        """All that waits: the system's buffer takes more only when a good part of it is free, which a slow client may
        need minutes for."""
        return self.transport.get_write_buffer_size() + _unacknowledged_bytes(self.transport)

    def _let_go(self) -> None:
        """Close at once: `close` would wait until all is taken. With a reset, so that the system's buffer goes too. The
        route hears what it hears of a client that leaves."""
        _log.info("a client has taken nothing of an answer for %g seconds", self._stall_seconds)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look_at_the_clock()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look_at_the_clock()

    def _look_at_the_clock(self) -> None:
        """Let it run while part of a request is there and the rest is not: since its first byte, whatever comes."""
        if self.transport.is_closing() or not self._is_half_sent():
            self._stop_clock()
            return
        self._unset_keepalive_if_required()  # that clock is for connections between two requests
        if self._deadline is None:
            self._start_clock()

    def _is_half_sent(self) -> bool:
        begun = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        return begun and self.conn.their_state in WAITING

    def _start_clock(self) -> None:
        self._deadline = self.loop.call_later(self._request_timeout_seconds, self._too_slow)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._is_half_sent():
            self._refuse(RequestTooSlow(fix=f"send the request within {self._request_timeout_seconds:g} seconds"))
        else:
            self.transport.close()  # it has said nothing: browsers open such connections ahead of need

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn within its handling of the error that h11 raised."""
        self._stop_clock()
        error = sys.exc_info()[1]
        assert isinstance(error, h11.RemoteProtocolError)
        if error.error_status_hint == 431:
            self._refuse(HeadersTooLarge(f"the headers have more than {MAX_HEADER_BYTES} bytes", fix="send fewer"))
        else:
            self._refuse(MalformedHttp(f"{msg.rstrip('.')}: {_words_of(error)}", fix="send what RFC 9112 describes"))

    def _refuse(self, error: LongtakeError) -> None:
        """Answer, where no answer has begun, and close. The route that waits for the body hears that nobody is left."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        waiting = cycle if cycle is not None and not cycle.response_complete else None
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE} and not (waiting and waiting.response_started):
            self._write(error)
        if waiting is not None:
            waiting.disconnected = True
            waiting.message_event.set()
        self.transport.close()

    def _write(self, error: LongtakeError) -> None:
        answer = response_of(error, {"Connection": "close"})
        body = bytes(answer.body)
        events = (h11.Response(status_code=answer.status_code, headers=answer.raw_headers), h11.Data(body))
        with suppress(h11.LocalProtocolError):  # a HEAD whose answer has no body
            for event in (*events, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: an offer to upgrade (curl's h2c, a WebSocket) may be passed over (RFC 9110, 7.8)."""


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """What the system holds for the client; 0 where it does not tell."""
    try:
        import fcntl  # not on Windows
        import termios

        told = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (ImportError, OSError):
        return 0
    return int.from_bytes(told, sys.byteorder)


def _words_of(error: h11.RemoteProtocolError) -> str:
    """h11's own words where they repeat nothing of the client's."""
    words = str(error)
    return words if words.isprintable() and len(words) <= 100 and "(" not in words else "it cannot be read"


def config_of(args: argparse.Namespace, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs. Its own reading of proxies' headers is off: api/http/proxies.py is the only one."""
    return uvicorn.Config(
        partial(create_app, settings),
        factory=True,
        host=args.host,
        port=args.port,
        http=partial(  # type: ignore[arg-type]
            Protocol,
            request_timeout_seconds=settings.request_timeout_seconds,
            stall_seconds=settings.media_stall_seconds,
        ),
        ws="none",
        proxy_headers=False,
        log_level=settings.log_level.lower(),
        access_log=args.access_log,
        timeout_keep_alive=round(settings.keep_alive_seconds),
        timeout_graceful_shutdown=args.grace_seconds,
    )


def parser() -> argparse.ArgumentParser:
    """What a command line may say; all else is in the settings."""
    made = argparse.ArgumentParser(prog="python -m api.server", description="The HTTP API of Longtake.")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    made.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    made.add_argument("--access-log", action="store_true", help="a line per request")
    made.add_argument(
        "--grace-seconds", type=int, default=10, help="how long open answers may take at the end (default: %(default)s)"
    )
    return made


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    settings = settings_of_environment()
    logging.basicConfig(level=settings.log_level, format="%(levelname)s:     %(name)s: %(message)s")
    uvicorn.Server(config_of(args, settings)).run()


if __name__ == "__main__":
    main()
