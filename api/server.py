"""Runs the API: `python -m api.server`. uvicorn with timeouts for slow clients and strict HTTP framing.

A request must arrive completely within LONGTAKE_REQUEST_TIMEOUT_SECONDS of its first byte (on a new connection, of the
connect), so that slow headers, slow bodies and silent connections cannot exhaust the server. The client must read some
of a response every LONGTAKE_MEDIA_STALL_SECONDS.
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
from copy import deepcopy
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from starlette.types import Scope
from uvicorn.config import LOGGING_CONFIG
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from api.app import create_app, settings_of_environment
from api.binding import check_binding
from api.http.access_log import WithoutQueries
from api.http.problems import HeadersTooLarge, MalformedHttp, RequestTooSlow, response_of
from api.http.request_ids import HEADER, request_id_of
from core.service.domain.errors import LongtakeError, SetupError, StoreMisconfigured
from core.service.logs import JsonLines, secrets_of, set_up_logs
from core.service.request_ids import LOG_SUFFIX, accepted_request_id
from core.service.setting_checks import warn_of_settings
from core.service.settings import Settings
from core.service.tracing import set_up_traces

MAX_HEADER_BYTES = 32 * 1024
"""Request line and headers together; more is answered 431."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that drops unsent data on close."""
INCOMPLETE = frozenset({h11.IDLE, h11.SEND_BODY})
"""Client states in which more of a request may arrive."""
_log = logging.getLogger(__name__)


class StrictConnection(h11.Connection):
    """h11 without the leniencies of RFC 9112 that allow request smuggling."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADER_BYTES)

    def next_event(self) -> Any:
        """As h11's. Also raises RemoteProtocolError if two headers give the length (RFC 9112, 6.1)."""
        event = super().next_event()
        return _checked(event) if isinstance(event, h11.Request) else event


def _checked(request: h11.Request) -> h11.Request:
    """The request, with an absolute-form target (RFC 9112, 3.2.2) split into path and Host."""
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError("this is not HTTP/1")
    if len(request.target) + sum(len(name) + len(value) for name, value in request.headers) > MAX_HEADER_BYTES:
        # h11 checks the size only of headers that arrive in several parts.
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
    """One connection. `request_timeout_seconds` applies to each request. The connection is closed if the client reads
    nothing of a response for `stall_seconds`."""

    def __init__(self, *args: Any, request_timeout_seconds: float, stall_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = StrictConnection()
        self._request_timeout_seconds = request_timeout_seconds
        self._stall_seconds = stall_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._stall_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # call pause_writing as soon as any byte waits
        self._start_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timeout()
        self._stop_stall_check()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Called when bytes wait for the client, also on a connection that closes after they are sent."""
        super().pause_writing()
        self._schedule_stall_check(self._unread_bytes())

    def resume_writing(self) -> None:
        self._stop_stall_check()
        super().resume_writing()

    def _schedule_stall_check(self, unread_bytes: int) -> None:
        self._stall_check = self.loop.call_later(self._stall_seconds, self._check_stall, unread_bytes)

    def _check_stall(self, unread_before: int) -> None:
        unread = self._unread_bytes()
        if unread < unread_before:
            self._schedule_stall_check(unread)
        else:
            self._abort()

    def _stop_stall_check(self) -> None:
        if self._stall_check is not None:
            self._stall_check.cancel()
            self._stall_check = None

    def _unread_bytes(self) -> int:
        """Bytes in the process and in the kernel, which accepts more only when much of its buffer is free. With a slow
        client that may take minutes."""
        return self.transport.get_write_buffer_size() + _unacknowledged_bytes(self.transport)

    def _abort(self) -> None:
        """Reset the connection: `close` would wait until all is sent, and only a reset drops the kernel's buffer. The
        route sees a disconnect."""
        _log.info("a client has read nothing of a response for %g seconds", self._stall_seconds)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_timeout()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_timeout()

    def _update_timeout(self) -> None:
        """The timeout runs while a request has arrived in part, from its first byte."""
        if self.transport.is_closing() or not self._is_half_sent():
            self._stop_timeout()
            return
        self._unset_keepalive_if_required()  # the keep-alive timeout is for idle connections
        if self._deadline is None:
            self._start_timeout()

    def _is_half_sent(self) -> bool:
        begun = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        return begun and self.conn.their_state in INCOMPLETE

    def _start_timeout(self) -> None:
        self._deadline = self.loop.call_later(self._request_timeout_seconds, self._too_slow)

    def _stop_timeout(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._is_half_sent():
            self._refuse(RequestTooSlow(fix=f"send the request within {self._request_timeout_seconds:g} seconds"))
        else:
            self.transport.close()  # nothing was sent: browsers open connections in advance

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn while it handles an error of h11."""
        self._stop_timeout()
        error = sys.exc_info()[1]
        assert isinstance(error, h11.RemoteProtocolError)
        if error.error_status_hint == 431:
            self._refuse(HeadersTooLarge(f"the headers have more than {MAX_HEADER_BYTES} bytes", fix="send fewer"))
        else:
            self._refuse(MalformedHttp(f"{msg.rstrip('.')}: {_reason_of(error)}", fix="send what RFC 9112 describes"))

    def _refuse(self, error: LongtakeError) -> None:
        """Answer, unless a response has begun, and close. A route that waits for the body sees a disconnect."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        waiting = cycle if cycle is not None and not cycle.response_complete else None
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE} and not (waiting and waiting.response_started):
            request_id = request_id_of(cast(Scope, waiting.scope)) if waiting else accepted_request_id(None)
            self._write(error, request_id)
        if waiting is not None:
            waiting.disconnected = True
            waiting.message_event.set()
        self.transport.close()

    def _write(self, error: LongtakeError, request_id: str) -> None:
        response = response_of(error, {"Connection": "close", HEADER: request_id})
        body = bytes(response.body)
        events = (h11.Response(status_code=response.status_code, headers=response.raw_headers), h11.Data(body))
        with suppress(h11.LocalProtocolError):  # the response to a HEAD has no body
            for event in (*events, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")

    def _unsupported_upgrade_warning(self) -> None:
        """No warning: an offer to upgrade (curl's h2c, a WebSocket) may be ignored (RFC 9110, 7.8)."""


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Bytes in the kernel's send buffer; 0 if the system does not report it."""
    try:
        import fcntl  # not on Windows
        import termios

        queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (ImportError, OSError):
        return 0
    return int.from_bytes(queued, sys.byteorder)


def _reason_of(error: h11.RemoteProtocolError) -> str:
    """h11's message unless it may repeat what the client sent."""
    text = str(error)
    return text if text.isprintable() and len(text) <= 100 and "(" not in text else "it cannot be parsed"


def config_of(args: argparse.Namespace, settings: Settings) -> uvicorn.Config:
    """uvicorn's configuration. Its own handling of proxy headers is off; api/http/proxies.py does it."""
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
        log_config=_log_config(settings),
        access_log=args.access_log,
        timeout_keep_alive=round(settings.keep_alive_seconds),
        timeout_graceful_shutdown=args.grace_seconds,
    )


def _log_config(settings: Settings) -> dict[str, Any]:
    """uvicorn's own, with request ids or as JSON, and without queries."""
    config = deepcopy(LOGGING_CONFIG)
    config["filters"] = {"queries": {"()": WithoutQueries}}
    config["handlers"]["access"]["filters"] = ["queries"]
    for name, formatter in config["formatters"].items():
        as_text = {**formatter, "fmt": formatter["fmt"] + LOG_SUFFIX}
        as_json = {"()": JsonLines, "secrets": secrets_of(settings)}
        config["formatters"][name] = as_json if settings.log_format == "json" else as_text
    return config


def parser() -> argparse.ArgumentParser:
    """The command line; everything else is a setting."""
    made = argparse.ArgumentParser(prog="python -m api.server", description="The HTTP API of Longtake.")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    made.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    made.add_argument("--access-log", action="store_true", help="log one line per request")
    made.add_argument(
        "--grace-seconds", type=int, default=10, help="time for open responses when stopping (default: %(default)s)"
    )
    return made


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    settings = settings_of_environment()
    try:
        check_binding(args.host, settings)
    except SetupError as error:
        raise SystemExit(error.with_fix) from error
    set_up_logs(settings, f"%(levelname)s:     %(name)s: %(message)s{LOG_SUFFIX}")
    warn_of_settings(settings)
    stop_traces = set_up_traces("longtake-api")
    try:
        uvicorn.Server(config_of(args, settings)).run()
    except StoreMisconfigured as error:  # a URL of Redis, or a file that it names, cannot be read
        raise SystemExit(error.with_fix) from None
    finally:
        stop_traces()


if __name__ == "__main__":
    main()
