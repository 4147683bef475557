"""The API's own server process under raw sockets: half-sent requests, odd framing, proxies, clients that leave.

Redis and S3 are not there: nothing here needs them.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cli.processes.child import Child, stop_all
from cli.processes.machine import free_port
from tests.helpers.apt import program
from tests.helpers.deadline import eventually
from tests.helpers.slow_clients import slow_connection

TIMEOUT_SECONDS = 2.0
STALL_SECONDS = 4.0
IMPATIENT = {
    "LONGTAKE_REQUEST_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
    "LONGTAKE_KEEP_ALIVE_SECONDS": "2",
    "LONGTAKE_MEDIA_STALL_SECONDS": str(STALL_SECONDS),
    "LONGTAKE_TRUSTED_PROXIES": "127.0.0.2",
    "LONGTAKE_ALLOWED_HOSTS": "video.example",
    "LONGTAKE_REDIS_URL": "redis://127.0.0.1:1/0",
    "LONGTAKE_BROKER_URL": "redis://127.0.0.1:1/1",
    "LONGTAKE_S3_ENDPOINT_URL": "http://127.0.0.1:1",
}
PATIENT = {"LONGTAKE_REQUEST_TIMEOUT_SECONDS": "600"}
"""Half of a request may hang for longer than any test takes."""
HOST = b"Host: localhost\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"


class Server:
    """A running `python -m api.server`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.log = folder / "api.log"
        command = [sys.executable, "-m", "api.server", "--port", str(self.port)]
        self.child = Child("the API", command, {**os.environ, **IMPATIENT, **environment}, self.log)
        eventually(self.is_alive, "the API to answer")

    def is_alive(self) -> bool:
        self.child.check()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz", trust_env=False, timeout=20).is_success
        except httpx.TransportError:
            return False

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(source, 0))

    def ask(self, request: bytes, source: str = "127.0.0.1") -> bytes:
        """Everything that comes back until the server closes."""
        with self.connect(source) as connection:
            connection.sendall(request)
            return everything(connection)


def everything(connection: socket.socket) -> bytes:
    parts = list[bytes]()
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass  # the server closed while more of the request was on its way
    return b"".join(parts)


def parsed(answer: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and problem of the one answer in these bytes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body) if body.startswith(b"{") else {}


@pytest.mark.parametrize(
    "command", [["-m", "api.server"], ["-m", "uvicorn", "--factory", "api.app:create_app"]], ids=["own", "uvicorn"]
)
def test_a_wrong_setting_ends_the_server_with_one_sentence(command: list[str]) -> None:
    environment = {**os.environ, "LONGTAKE_WEBHOOK_SECRET": "whsec_AAAA"}
    ended = subprocess.run(
        [sys.executable, *command, "--port", str(free_port())],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    (sentence,) = ended.stderr.splitlines()
    assert sentence.startswith("the environment variable LONGTAKE_WEBHOOK_SECRET is wrong: it has a key of 3 bytes")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("api"))
    yield server
    server.child.ask_to_stop()
    server.child.wait_stopped(60)
    assert "Traceback" not in server.log.read_text(), server.log.read_text()


@pytest.mark.parametrize(
    "half",
    [
        b"P",
        b"POST /jobs HTTP/1.1\r\nHost: loc",
        b"POST /jobs HTTP/1.1\r\n" + HOST,
        b"POST /jobs HTTP/1.1\r\n" + JSON + b"Content-Length: 100\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\n" + JSON + b'Content-Length: 100\r\n\r\n{"prompt": ',
        b"POST /jobs HTTP/1.1\r\n" + JSON + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"pro',
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /healthz HTTP/1.1\r\nHost: ",
    ],
)
def test_a_half_sent_request_is_ended_with_408(server: Server, half: bytes) -> None:
    began = time.monotonic()
    answer = server.ask(half)
    took = time.monotonic() - began
    status, headers, problem = parsed(answer[answer.rindex(b"HTTP/1.1 ") :])
    assert (status, problem["code"], headers["connection"]) == (408, "request_timeout", "close")
    assert took >= TIMEOUT_SECONDS * 0.9


def test_bytes_that_trickle_in_do_not_make_the_time_longer(server: Server) -> None:
    answer = b""

    def is_refused() -> bool:
        nonlocal answer
        connection.sendall(b" ")
        with suppress(TimeoutError):
            answer += connection.recv(4096)
        return b"HTTP/1.1 408" in answer

    with server.connect() as connection:
        connection.settimeout(0.1)
        connection.sendall(b"POST /jobs HTTP/1.1\r\n" + JSON + b"Content-Length: 1000\r\n\r\n")
        eventually(is_refused, "the time to be over although bytes still come")


def test_the_timeout_covers_an_unread_body(server: Server) -> None:
    """A refusal that came before the body leaves no connection that may trickle for ever."""
    answer = server.ask(b"POST /nowhere HTTP/1.1\r\n" + JSON + b"Content-Length: 100\r\n\r\n{")
    assert parsed(answer)[0] == 404


def test_a_silent_connection_is_closed_without_an_answer(server: Server) -> None:
    assert server.ask(b"") == b""


def test_an_idle_connection_is_kept_and_then_closed(server: Server) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            answer = b""
            while b'"ok"}' not in answer:
                answer += connection.recv(4096)
        assert everything(connection) == b""


@contextmanager
def half_open_connections(server: Server, count: int) -> Generator[psutil.Process]:
    """So many that say half of a request. The server's process."""
    with ExitStack() as opened:
        for _ in range(count):
            connection = opened.enter_context(server.connect())
            connection.sendall(b"POST /jobs HTTP/1.1\r\nHost: localhost\r\n")
        yield psutil.Process(server.child.pid)


def test_a_thousand_half_open_connections_keep_no_client_from_the_api(tmp_path: Path) -> None:
    server = Server(tmp_path, **PATIENT)
    try:
        with half_open_connections(server, 1000) as process:
            eventually(lambda: len(process.net_connections("tcp")) > 1000, "all of them to be there")
            for _ in range(20):
                assert server.is_alive()
            assert len(process.net_connections("tcp")) > 1000, "nobody has waited for their end"
    finally:
        stop_all([server.child], grace_seconds=20)


def test_a_thousand_half_open_connections_are_closed(server: Server) -> None:
    with half_open_connections(server, 1000) as process:
        assert server.is_alive()
        eventually(lambda: len(process.net_connections("tcp")) < 20, "half-open connections to be closed")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /jobs HTTP/1.1\r\n" + JSON + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /jobs HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400),
        (b"POST /jobs HTTP/1.0\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /jobs HTTP/1.1\r\n" + JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 400),
        (b"POST /jobs HTTP/1.1\r\n" + JSON + b"Content-Length: -2\r\n\r\n{}", 400),
        (b"POST /jobs HTTP/1.1\r\n" + JSON + b"Content-Length: +2\r\n\r\n{}", 400),
        (b"POST /jobs HTTP/1.1\r\n" + JSON + b"Content-Length: two\r\n\r\n{}", 400),
        (b"POST /jobs HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /jobs HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n", 400),
        (b"GET /jobs HTTP/1.1\r\n\r\n", 400),
        (b"GET /jobs HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET /jobs HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET /jobs HTTP/1.1\r\n folded\r\n" + HOST + b"\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /jobs HTTP/3.0\r\n" + HOST + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", 400),
        (b"GET /jobs HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    ],
)
def test_framing_that_servers_read_differently_is_refused(server: Server, request_: bytes, status: int) -> None:
    found, headers, problem = parsed(server.ask(request_))
    assert (found, headers["content-type"], headers["connection"]) == (status, "application/problem+json", "close")
    assert problem["code"] == ("malformed_http" if status == 400 else "headers_too_large")
    assert headers["x-request-id"]
    assert "yyyy" not in json.dumps(problem)


CLOSE = b"Connection: close\r\n\r\n"
OWN_ID = b"X-Request-Id: trace-7\r\n"


def test_a_request_that_arrives_too_slowly_is_answered_with_its_id(server: Server) -> None:
    answer = server.ask(b"POST /jobs HTTP/1.1\r\n" + OWN_ID + JSON + b"Content-Length: 100\r\n\r\n{")
    assert (parsed(answer)[0], parsed(answer)[1]["x-request-id"]) == (408, "trace-7")


def test_log_lines_name_the_request(server: Server) -> None:
    status, headers, _ = parsed(server.ask(b"GET /jobs HTTP/1.1\r\n" + OWN_ID + HOST + CLOSE))
    assert (status, headers["x-request-id"]) == (503, "trace-7")  # there is no Redis
    lines = [line for line in server.log.read_text().splitlines() if "GET /jobs" in line]
    assert lines[-1].endswith("[request trace-7]")


def test_options_asterisk_is_about_the_server(server: Server) -> None:
    status, headers, _ = parsed(server.ask(b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE))
    assert (status, "POST" in headers["allow"]) == (204, True)


def test_an_absolute_target_brings_its_own_host(server: Server) -> None:
    answered = server.ask(b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n" + CLOSE)
    refused = server.ask(b"GET http://evil.example/healthz HTTP/1.1\r\n" + HOST + CLOSE)
    assert (parsed(answered)[0], parsed(refused)[0]) == (200, 421)


def test_head_has_headers_and_no_body_on_the_wire(server: Server) -> None:
    answer = server.ask(b"HEAD /openapi.json HTTP/1.1\r\n" + HOST + CLOSE)
    status, headers, _ = parsed(answer)
    assert (status, answer.endswith(b"\r\n\r\n")) == (200, True)
    assert int(headers["content-length"]) > 10_000


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
def test_an_offer_to_upgrade_is_passed_over(server: Server, upgrade: bytes) -> None:
    request = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, close\r\nUpgrade: " + upgrade + b"\r\n\r\n"
    assert parsed(server.ask(request))[0] == 200
    assert "upgrade" not in server.log.read_text().lower()


def test_forwarded_headers_count_only_from_a_trusted_address(server: Server) -> None:
    request = b"GET /jobs/ HTTP/1.1\r\n" + HOST
    told = b"X-Forwarded-Host: video.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /api\r\n"
    trusted = parsed(server.ask(request + told + CLOSE, source="127.0.0.2"))[1]
    stranger = parsed(server.ask(request + told + CLOSE, source="127.0.0.1"))[1]
    assert (trusted["location"], stranger["location"]) == ("/api/jobs", "/jobs")


def test_a_client_that_leaves_within_its_body_is_one_line_in_the_log(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /jobs HTTP/1.1\r\n" + JSON + b'Content-Length: 100\r\n\r\n{"prompt": ')
        server.is_alive()
    eventually(lambda: "POST /jobs: the client disconnected" in server.log.read_text(), "the line in the log")


def test_a_client_that_leaves_within_an_answer_leaves_no_traceback(server: Server) -> None:
    """The server's log is looked at once all tests are through."""
    for _ in range(20):
        with server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave with a reset
            connection.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n")
            connection.recv(100)
    assert server.is_alive()


BUNDLE = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"
"""More than a megabyte of answer."""


def test_clients_that_read_nothing_of_an_answer_are_disconnected_without_an_error(server: Server) -> None:
    api, errors = psutil.Process(server.child.pid), server.log.read_text().count("ERROR")
    with ExitStack() as opened:
        for _ in range(20):
            opened.enter_context(slow_connection(server.port)).sendall(BUNDLE)
        eventually(lambda: len(api.net_connections("tcp")) >= 20, "the connections to be there")
        eventually(lambda: len(api.net_connections("tcp")) < 5, "the connections to be closed")
    assert server.log.read_text().count("ERROR") == errors


def test_a_client_that_reads_slowly_but_steadily_is_kept(server: Server) -> None:
    parts, ends_at = list[bytes](), time.monotonic() + 3 * STALL_SECONDS

    def take_some() -> bool:
        parts.append(connection.recv(2000))
        return time.monotonic() > ends_at

    with slow_connection(server.port) as connection:
        connection.sendall(BUNDLE)
        eventually(take_some, "the time to be over", pause_seconds=0.1)
        assert all(parts)
        length = int(parsed(parts[0])[1]["content-length"])
        assert len(b"".join(parts)) < length / 2
        assert len(b"".join(parts)) + len(everything(connection)) > length


def test_the_documentation_works_in_a_browser_without_any_other_server(server: Server) -> None:
    chromium = program("chromium", ["chromium"])
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom"]
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    command = [chromium, *options, offline, f"http://127.0.0.1:{server.port}/docs"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert 'data-path="/jobs/{job_id}/playlist.m3u8"' in page


def odd_requests() -> Iterator[bytes]:
    """Several hundred requests that no client should send."""
    targets = [b"/", b"//", b"/jobs", b"/jobs/%00", b"/jobs/%ff%fe", b"/jobs/%2e%2e%2f", b"/jobs/a%2Fb/video", b"*"]
    targets += [b"/jobs?limit=%00", b"/jobs?cursor=%ff", b"/jobs?limit=1e9", b"/jobs?a[]=1&&&=", b"/?#", b"/\\", b"/%"]
    targets += [b"/jobs/" + b"%F0%9F%8E%AC" * 50, b"http:///", b"http://localhost", b"localhost:80", b"/docs/../x"]
    headers = [b"", b"Range: bytes=0-\r\n", b"Range: x\r\n", b"Last-Event-ID: \xff\r\n", b"Accept: \xff\r\n"]
    headers += [b"If-None-Match: " + b'"' * 5000 + b"\r\n", b"Content-Length: 0\r\n", b"Origin: null\r\n"]
    headers += [b"X-Forwarded-For: ,,,\r\nForwarded: ;;;\r\n", b"Expect: 100-continue\r\n", b"Expect: x\r\n"]
    for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"POST", b"CONNECT", b"TRACE", b"get"):
        for number, target in enumerate(targets):
            for header in headers[number % 2 :: 2]:
                yield method + b" " + target + b" HTTP/1.1\r\n" + HOST + header + CLOSE
    bodies = [b"", b"null", b"[]", b"0", b'"x"', b"{}", b'{"prompt": null}', b"\xff", b"\x00"]
    bodies += [b"{" * 60_000, b"1" * 60_000]
    for content_type in (b"application/json", b"application/json;;", b"application/x+json", b"\xff", b"a", b""):
        for body in bodies:
            sent = b"Content-Type: " + content_type + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n"
            yield b"POST /jobs HTTP/1.1\r\n" + HOST + sent + CLOSE + body


def test_hundreds_of_odd_requests_get_no_5xx_but_for_the_servers_that_are_away(server: Server) -> None:
    worst = list[tuple[bytes, bytes]]()
    count = 0
    for request in odd_requests():
        count += 1
        answer = server.ask(request)
        status, _, problem = parsed(answer)
        if status >= 500 and problem.get("code") not in {None, "store_unavailable", "storage_unavailable"}:
            worst.append((request[:200], answer[:500]))
        if status >= 500 and request[:4] != b"HEAD" and not problem:
            worst.append((request[:200], answer[:500]))
    assert count > 800
    assert worst == []
    assert server.is_alive()
