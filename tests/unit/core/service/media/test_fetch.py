"""Fetching clients' URLs: each redirect is checked and pinned; redirects, time and bytes are limited."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from core.service.domain.errors import (
    Interrupted,
    MediaError,
    MediaFetchFailed,
    MediaTooLarge,
    MediaTypeRefused,
    MediaUnavailable,
    MediaUnreadable,
    MediaUrlRefused,
)
from core.service.domain.media_types import MediaKind
from core.service.media.fetch import MAX_REDIRECTS, fetch
from core.service.media.limited_file import MediaSink
from core.service.net.address_guard import VIDEO, check_url
from tests.helpers.canned_server import answering, unreachable_port
from tests.helpers.deadline import eventually
from tests.helpers.media_server import Answer, MediaServer, redirect, serving_media

HOST = "videos.example.com"
TLS_FOLDER = Path(__file__).resolve().parents[4] / "references" / "tls"
MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(range(256)) * 400


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with serving_media() as server:
        yield server


def as_if_public(url: str) -> Sequence[str]:
    """HOST is taken for a public host that happens to be on loopback; all other URLs are judged as ever."""
    return ["127.0.0.1"] if f"//{HOST}:" in url else check_url(url, use=VIDEO)


class Fetching:
    """Fetches into a file, with short times."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "given"
        self.tls: ssl.SSLContext | None = None

    def get(
        self,
        url: str,
        *,
        max_bytes: int = 1_000_000,
        timeout_seconds: float = 10.0,
        allowed: Callable[[str], Sequence[str]] = as_if_public,
        tick: Callable[[], None] = lambda: None,
        answer_seconds: float = 30.0,
        grace_seconds: float = 20.0,
    ) -> bytes:
        with MediaSink(self.file, MediaKind.VIDEO, max_bytes) as sink:
            fetch(
                url,
                sink,
                allowed=allowed,
                timeout_seconds=timeout_seconds,
                tick=tick,
                tls=self.tls,
                answer_seconds=answer_seconds,
                grace_seconds=grace_seconds,
            )
        return self.file.read_bytes()


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path)


def test_the_checked_address_is_asked_under_the_url_s_own_host(fetching: Fetching, server: MediaServer) -> None:
    server.answers["/a.mp4"] = Answer(MP4)
    assert fetching.get(server.url("/a.mp4?key=1", HOST)) == MP4
    ((path, headers),) = server.seen
    assert path == "/a.mp4?key=1"
    assert headers["host"] == f"{HOST}:{server.port}"
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("says_how_much", [True, False])
def test_a_server_too_slow_to_finish_in_time_is_given_up_early(
    fetching: Fetching, server: MediaServer, says_how_much: bool
) -> None:
    length = {"content-length": str(len(MP4)) if says_how_much else "", "connection": "close"}
    server.answers["/slow"] = Answer(MP4, headers=length, seconds_per_byte=0.02)
    with pytest.raises(MediaFetchFailed, match="too slowly"):  # not after all its time, which has other words
        fetching.get(server.url("/slow", HOST), timeout_seconds=60, grace_seconds=0.5)


def test_a_server_that_pauses_and_is_in_time_all_the_same_is_not_too_slow(
    fetching: Fetching, server: MediaServer
) -> None:
    answer = server.answers["/a"] = Answer(MP4, after=threading.Event())
    assert answer.after
    threading.Timer(0.5, answer.after.set).start()
    assert fetching.get(server.url("/a", HOST), grace_seconds=0.2, timeout_seconds=60) == MP4


def test_tls_names_the_host_and_verifies_it(fetching: Fetching) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(TLS_FOLDER / "cert.pem", TLS_FOLDER / "key.pem")
    fetching.tls = ssl.create_default_context(cafile=str(TLS_FOLDER / "cert.pem"))
    with serving_media(server_side) as server:
        server.answers["/a.mp4"] = Answer(MP4)
        right, wrong = (f"https://{host}:{server.port}/a.mp4" for host in ("hooks.example.com", "other.example.com"))
        assert fetching.get(right, allowed=lambda _: ["127.0.0.1"]) == MP4
        with pytest.raises(MediaFetchFailed, match="ConnectError"):
            fetching.get(wrong, allowed=lambda _: ["127.0.0.1"])


def test_redirects_are_followed_and_each_is_checked(fetching: Fetching, server: MediaServer) -> None:
    checked: list[str] = []

    def allowed(url: str) -> Sequence[str]:
        checked.append(url)
        return as_if_public(url)

    server.answers |= {"/1": redirect("/2"), "/2": redirect(server.url("/3", HOST)), "/3": Answer(MP4)}
    assert fetching.get(server.url("/1", HOST), allowed=allowed) == MP4
    assert checked == [server.url(path, HOST) for path in ("/1", "/2", "/3")]


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/secret", "http://localhost:{port}/secret", "file:///etc/hostname"]
)
def test_a_redirect_to_a_private_address_is_refused(fetching: Fetching, server: MediaServer, target: str) -> None:
    server.answers |= {"/1": redirect(target.format(port=server.port)), "/secret": Answer(MP4)}
    with pytest.raises(MediaUrlRefused):
        fetching.get(server.url("/1", HOST))
    assert server.paths() == ["/1"]


def test_redirects_in_a_circle_end(fetching: Fetching, server: MediaServer) -> None:
    server.answers["/1"] = redirect("/1")
    with pytest.raises(MediaUnavailable, match="more than 3"):
        fetching.get(server.url("/1", HOST))
    assert len(server.seen) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("told", [True, False])
def test_more_bytes_than_allowed_are_not_read(fetching: Fetching, server: MediaServer, told: bool) -> None:
    server.answers["/a"] = Answer(MP4, headers={} if told else {"content-length": ""})
    with pytest.raises(MediaTooLarge, match="more than the 5000 bytes"):
        fetching.get(server.url("/a", HOST), max_bytes=5000)
    assert fetching.file.stat().st_size <= 5000


def test_what_is_no_video_is_not_fetched_to_the_end(fetching: Fetching, server: MediaServer) -> None:
    server.answers["/a"] = Answer(
        b"<html>" + bytes(50_000), headers={"content-type": "video/mp4"}, after=threading.Event()
    )
    with pytest.raises(MediaTypeRefused, match="an HTML page"):
        fetching.get(server.url("/a", HOST))


@pytest.mark.parametrize(("body", "error"), [(b"", MediaUnreadable), (b"\x89PNG\r\n\x1a\n", MediaTypeRefused)])
def test_too_little_to_tell_is_refused(
    fetching: Fetching, server: MediaServer, body: bytes, error: type[MediaError]
) -> None:
    server.answers["/a"] = Answer(body)
    with pytest.raises(error):
        fetching.get(server.url("/a", HOST))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, MediaFetchFailed) for status in (500, 503, 429)),
        *((status, MediaUnavailable) for status in (404, 403, 204)),
    ],
)
def test_answers_are_classified_by_whether_a_retry_can_help(
    fetching: Fetching, server: MediaServer, status: int, error: type[Exception]
) -> None:
    server.answers["/a"] = Answer(status=status)
    with pytest.raises(error, match=f"answered {status}"):
        fetching.get(server.url("/a?signature=secret", HOST))


def test_a_slow_server_is_given_up(fetching: Fetching, server: MediaServer) -> None:
    server.answers["/a"] = Answer(MP4, after=threading.Event())
    with pytest.raises(MediaFetchFailed, match=r"more than 0\.3 s"):
        fetching.get(server.url("/a", HOST), timeout_seconds=0.3)


@pytest.mark.parametrize("says", [None, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-A: "])
def test_a_server_that_does_not_answer_is_given_up_early(fetching: Fetching, says: bytes | None) -> None:
    with answering(says, hang_up=False) as port, pytest.raises(MediaFetchFailed, match=r"not answered within 0\.5 s"):
        fetching.get(f"http://{HOST}:{port}/a", timeout_seconds=60, answer_seconds=0.5)


@pytest.mark.parametrize(
    "says",
    [b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000, b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1_000_000],
    ids=["1xx", "head"],
)
def test_a_server_that_sends_anything_but_an_answer_is_given_up_at_once(fetching: Fetching, says: bytes) -> None:
    with answering(says, hang_up=False) as port, pytest.raises(MediaFetchFailed, match="its server failed: "):
        fetching.get(f"http://{HOST}:{port}/a", timeout_seconds=60)  # whose end, and that of waiting, have other words


def test_a_file_of_the_largest_size_may_come_in_chunks(fetching: Fetching) -> None:
    chunks = b"".join(b"400\r\n" + MP4[at : at + 1024] + b"\r\n" for at in range(0, 100 * 1024, 1024))
    says = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    with answering(says) as port:
        assert fetching.get(f"http://{HOST}:{port}/a", max_bytes=100 * 1024) == MP4[: 100 * 1024]


def test_waiting_for_a_silent_server_can_be_stopped(fetching: Fetching, server: MediaServer) -> None:
    server.answers["/a"] = Answer(MP4, after=threading.Event())

    def stop_once_asked() -> None:
        if server.seen:
            raise Interrupted

    with pytest.raises(Interrupted):
        fetching.get(server.url("/a", HOST), tick=stop_once_asked)


def test_a_server_that_is_not_there_may_be_tried_again(fetching: Fetching) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MediaFetchFailed) as failed:
        fetching.get(f"http://{HOST}:{port}/a?signature=secret")
    assert "secret" not in failed.value.message


def test_the_next_address_is_tried_where_one_cannot_be_connected_to(fetching: Fetching, server: MediaServer) -> None:
    server.answers["/a"] = Answer(MP4)
    url = server.url("/a", HOST)
    assert fetching.get(url, allowed=lambda _: ["127.0.0.2", "127.0.0.1"]) == MP4


def test_a_connection_that_breaks_may_be_tried_again(fetching: Fetching, server: MediaServer) -> None:
    server.answers["/a"] = Answer(MP4, headers={"content-length": str(len(MP4) + 10), "connection": "close"})
    with pytest.raises(MediaFetchFailed):
        fetching.get(server.url("/a", HOST))
    eventually(lambda: len(server.seen) == 1, "one request")


@pytest.mark.parametrize(
    "target", ["http://xn--/", "http://[::1", "http://a b/", "http://\\@127.0.0.1/", "//", "http:///x"]
)
def test_a_redirect_to_what_is_no_url_is_refused_by_name(fetching: Fetching, server: MediaServer, target: str) -> None:
    server.answers["/1"] = redirect(target)
    with pytest.raises((MediaUrlRefused, MediaUnavailable)):
        fetching.get(server.url("/1", HOST))


def test_an_unreachable_address_delays_the_next_one_only_briefly(fetching: Fetching, server: MediaServer) -> None:
    server.answers["/a.mp4"] = Answer(MP4)
    url, both = server.url("/a.mp4", HOST), ["127.0.0.3", "127.0.0.1"]
    with unreachable_port("127.0.0.3", server.port):
        began = time.monotonic()
        assert fetching.get(url, timeout_seconds=60, answer_seconds=60, allowed=lambda _: both) == MP4
        assert time.monotonic() - began < 20, "less than an equal share of the time"
