"""Real players on a real service: FFmpeg, GStreamer, Chromium's own player, hls.js, live and after.

The API sends the media itself, as in the embedded stack. What is missing here is skipped with its reason.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page

from core.service.domain.manifest import video_key
from tests.helpers.apt import program
from tests.helpers.browser import check_plays_whole, chromium, play_by_hls_js, play_natively, playing, wait_until_ended
from tests.helpers.deadline import eventually
from tests.helpers.players import frames_by_ffmpeg, frames_by_gstreamer, frames_by_vlc, hls_js_library
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import FullJob, Service, running_service

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
LIVE = {"model": "live", "num_frames": 64, "fps": 16}
"""Four chunks of a second each, one made in 0.5 s."""
SECONDS = 4.0
STALL_SECONDS = 60.0
"""So long a client may take nothing. Others get 60 MB in less."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    write_fake_preset(folder / "presets", "fake")
    write_fake_preset(folder / "presets", "live", steps=5, step_seconds=0.1)
    settings = {"default_model": "live", "media": "proxy", "media_stall_seconds": STALL_SECONDS}
    with running_service(folder, folder / "presets", **settings) as service:
        service.start_workers("fake", "live")
        yield service


@pytest.fixture(scope="module")
def finished(service: Service) -> FullJob:
    """A job of 64 frames that has ended."""
    return service.wait_for_success(service.submit(num_frames=64, fps=16).id)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def hls_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hls_js_library(tmp_path_factory.mktemp("hls"))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(30_000)
    yield page
    page.close()


# --- programs ---------------------------------------------------------------------------------------------------------


def test_ffmpeg_plays_every_frame_live_from_before_the_first_chunk(service: Service) -> None:
    assert frames_by_ffmpeg(service.submit(**LIVE).links.playlist) == 64


def test_ffmpeg_plays_every_frame_of_what_is_finished(finished: FullJob) -> None:
    assert frames_by_ffmpeg(finished.links.playlist) == frames_by_ffmpeg(finished.links.video) == 64


def test_gstreamer_plays_live_from_before_the_first_chunk(service: Service) -> None:
    assert frames_by_gstreamer(service.submit(**LIVE).links.playlist) == 64


def test_gstreamer_plays_every_frame_of_what_is_finished(finished: FullJob) -> None:
    assert frames_by_gstreamer(finished.links.playlist) == frames_by_gstreamer(finished.links.video) == 64


def test_vlc_plays_live_from_before_the_first_chunk(service: Service) -> None:
    assert frames_by_vlc(service.submit(**LIVE).links.playlist) == 64


def test_vlc_plays_every_frame_of_what_is_finished(finished: FullJob) -> None:
    assert frames_by_vlc(finished.links.playlist) == frames_by_vlc(finished.links.video) == 64


def test_curl_gets_206_and_exactly_the_bytes_it_asks_for(finished: FullJob, tmp_path: Path) -> None:
    curl = program("curl", ["curl"])
    for url in (finished.links.video, finished.chunks[1].url):
        command = [curl, "-s", "-r", "0-99", "-o", tmp_path / "part", "-w", "%{http_code}", url]
        told = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert (told.stdout, (tmp_path / "part").stat().st_size) == ("206", 100)


# --- browsers ---------------------------------------------------------------------------------------------------------


def test_chromium_plays_the_playlist_live_from_before_the_first_chunk(service: Service, page: Page) -> None:
    play_natively(page, service.submit(**LIVE).links.playlist)
    check_plays_whole(page, SECONDS)


def test_chromium_plays_the_finished_playlist(finished: FullJob, page: Page) -> None:
    play_natively(page, finished.links.playlist)
    check_plays_whole(page, SECONDS)


def test_chromium_jumps_about_in_the_final_video(finished: FullJob, page: Page) -> None:
    play_natively(page, finished.links.video)
    eventually(lambda: playing(page).seconds > 0.2, "the video to play")
    page.evaluate("document.querySelector('video').currentTime = 3.5")
    before, after = wait_until_ended(page).played
    assert before[1] < 3.5
    assert after == [pytest.approx(3.5, abs=0.1), pytest.approx(SECONDS, abs=0.1)]


def test_hls_js_with_its_defaults_plays_live_from_before_the_first_chunk(
    service: Service, page: Page, hls_js: Path
) -> None:
    play_by_hls_js(page, service.submit(**LIVE).links.playlist, hls_js)
    check_plays_whole(page, SECONDS)


def test_hls_js_plays_the_finished_playlist(finished: FullJob, page: Page, hls_js: Path) -> None:
    play_by_hls_js(page, finished.links.playlist, hls_js)
    check_plays_whole(page, SECONDS)


# --- neighbours -------------------------------------------------------------------------------------------------------


LARGE = 30_000_000
"""Far more bytes than the buffers of a connection hold."""


def process_at(port: int) -> psutil.Process:
    """Who listens there."""
    found = [c for c in psutil.net_connections("tcp4") if c.laddr and c.laddr.port == port and c.status == "LISTEN"]
    assert found[0].pid
    return psutil.Process(found[0].pid)


def connections_of(api: psutil.Process) -> int:
    """Those of clients."""
    port = next(one.laddr.port for one in api.net_connections("tcp") if one.status == "LISTEN")
    return sum(one.laddr.port == port and one.status != "LISTEN" for one in api.net_connections("tcp"))


@contextmanager
def clients_that_take_nothing(service: Service, path: str, count: int) -> Generator[None]:
    """Connections that ask for `path` and read none of the answer."""
    sockets = [socket.create_connection(("127.0.0.1", service.api_port)) for _ in range(count)]
    try:
        for one in sockets:
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        yield
    finally:
        for one in sockets:
            one.close()


def test_clients_that_read_nothing_slow_no_other_cost_little_and_are_disconnected(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=16).id)
    service.storage().put(video_key(job.id), bytes(LARGE), "video/mp4")
    api = process_at(service.api_port)
    assert int(service.http.head(f"/jobs/{job.id}/video.mp4").headers["content-length"]) == LARGE
    before = api.memory_info().rss

    def is_whole() -> bool:
        """On a machine without time the object store may be too late for the API once, which says so."""
        answer = service.http.get(f"/jobs/{job.id}/video.mp4")
        assert answer.status_code in {200, 503}
        return len(answer.content) == LARGE

    with clients_that_take_nothing(service, f"/jobs/{job.id}/video.mp4", 40):
        eventually(lambda: connections_of(api) >= 40, "all of them to be there")
        for _ in range(2):
            eventually(is_whole, "a client that gets all bytes")
        assert connections_of(api) >= 40, "nobody has waited until they were disconnected"
        assert api.memory_info().rss - before < 100_000_000
        eventually(lambda: connections_of(api) <= 5, "all their connections to be closed", seconds=STALL_SECONDS + 60)
    assert "completing response" not in service.logs(lines=1000)


def test_a_storage_that_hangs_is_503_for_all_clients(service: Service, finished: FullJob) -> None:
    """And not an answer once it has come back: it stays away until all have theirs."""
    paths = [f"/jobs/{finished.id}/video.mp4", f"/jobs/{finished.id}/chunks/0.mp4"] * 20

    def ask(path: str) -> tuple[int, bool]:
        answer = service.http.get(path)
        return answer.status_code, "retry-after" in answer.headers

    os.kill(service.s3_server.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(len(paths)) as pool:
            assert set(pool.map(ask, paths)) == {(503, True)}
    finally:
        os.kill(service.s3_server.pid, signal.SIGCONT)
    eventually(lambda: ask(paths[0])[0] == 200, "the storage to be back")
