"""Stands before rclone's S3 server, which answers a Range with 200, and says 206 as other S3 servers do (RFC 9110)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast

_OF_CONNECTION = frozenset({"connection", "transfer-encoding", "date", "server"})


class _Forwarder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        storage = HTTPConnection(cast(RangesAs206, self.server).upstream, timeout=30)
        try:
            storage.request("GET", self.path, headers=dict(self.headers))  # Host too: it is part of the signature
            answer = storage.getresponse()
            body = answer.read()
        finally:
            storage.close()
        is_part = answer.status == HTTPStatus.OK and answer.getheader("Content-Range")
        self.send_response(HTTPStatus.PARTIAL_CONTENT if is_part else answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_CONNECTION:
                self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # players leave within an answer
            self.wfile.write(body)

    do_OPTIONS = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class RangesAs206(ThreadingHTTPServer):
    """`upstream`: host and port of the S3 server."""

    daemon_threads = True
    upstream = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of players that left."""


@contextmanager
def ranges_as_206() -> Generator[RangesAs206]:
    """A forwarder, on a port of its own, once it has an `upstream`."""
    with RangesAs206(("127.0.0.1", 0), _Forwarder) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
