"""Every player plays both variants, live and finished, whether the API sends the media or redirects to the storage.

Through `redirect` a presigned URL lives for one to two minutes, and a job that takes longer plays to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from core.service.domain.schema import JobSummary
from tests.helpers.browser import chromium, play_by_hls_js, play_natively, wait_until_ended
from tests.helpers.players import (
    frames_by_ffmpeg,
    frames_by_gstreamer,
    frames_by_vlc,
    hls_js_library,
)
from tests.helpers.presets import write_fake_preset
from tests.helpers.ranges_as_206 import ranges_as_206
from tests.helpers.service import Service, running_service

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
FPS = 16
LIVE = {"model": "live", "num_frames": 64, "fps": FPS, "refine": True}
"""Four chunks of a second each, made and refined in about a second."""
NUM_LONG_FRAMES = 16 * 140
LONG = {"model": "steady", "num_frames": NUM_LONG_FRAMES, "fps": FPS}
"""140 chunks of a second each, made in 0.9 s or more: longer than the longest life of a presigned URL here."""
URL_SECONDS = 60
"""The shortest that the settings allow. URLs are signed for a period of that length, so they live twice it at most."""
PROGRAMS: Mapping[str, Callable[[str, float], int]] = {
    "FFmpeg": frames_by_ffmpeg,
    "GStreamer": frames_by_gstreamer,
    "VLC": frames_by_vlc,
}


@pytest.fixture(scope="module", params=["proxy", "redirect"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    write_fake_preset(folder / "presets", "live", steps=5, step_seconds=0.1, refiner=True)
    write_fake_preset(folder / "presets", "steady", steps=5, step_seconds=0.16)
    with ranges_as_206() as storage:
        settings = {"media": request.param, "url_ttl_seconds": URL_SECONDS, "s3_public_endpoint_url": storage.url}
        with running_service(folder, folder / "presets", default_model="live", **settings) as service:
            storage.upstream = service.s3_server.endpoint_url.removeprefix("http://")
            service.start_workers("live", "steady")
            yield service


@dataclass(frozen=True)
class Played:
    """By player and number of the playlist: frames of programs, seconds of the browser, which drops frames on a busy
    machine."""

    frames: Mapping[str, int]
    seconds: Mapping[str, float]

    def check(self, num_frames: int) -> None:
        """Everything was played to its end."""
        assert self.frames == dict.fromkeys(self.frames, num_frames)
        assert self.seconds == pytest.approx(dict.fromkeys(self.seconds, num_frames / FPS), abs=0.1)


@dataclass(frozen=True)
class Players:
    """All players at once."""

    browser: Browser
    hls_js: Path

    def play(self, *playlists: str, seconds: float = 60) -> Played:
        """Play each playlist in every player."""
        with ThreadPoolExecutor(len(PROGRAMS) * len(playlists)) as pool:
            programs = {
                f"{name} {number}": pool.submit(play, url, seconds)
                for number, url in enumerate(playlists)
                for name, play in PROGRAMS.items()
            }
            of_browser = self._in_browser(playlists, seconds)
            return Played({name: playing.result() for name, playing in programs.items()}, of_browser)

    def _in_browser(self, playlists: tuple[str, ...], seconds: float) -> dict[str, float]:
        pages = dict[str, Page]()
        for number, url in enumerate(playlists):
            for name in ("Chromium", "hls.js"):
                page = pages[f"{name} {number}"] = self.browser.new_page()
                play_natively(page, url) if name == "Chromium" else play_by_hls_js(page, url, self.hls_js)
        try:
            return {name: wait_until_ended(page, seconds).seconds for name, page in pages.items()}
        finally:
            for page in pages.values():
                page.close()


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Players]:
    with chromium() as browser:
        yield Players(browser, hls_js_library(tmp_path_factory.mktemp("hls")))


def both_variants(job: JobSummary) -> tuple[str, str]:
    return job.links.playlist, f"{job.links.playlist}?variant=refined"


def test_every_player_plays_both_variants_live_from_before_the_first_chunk(service: Service, players: Players) -> None:
    players.play(*both_variants(service.submit(**LIVE))).check(64)


def test_every_player_plays_both_variants_of_a_finished_job(service: Service, players: Players) -> None:
    job = service.wait_for_success(service.submit(**LIVE).id)
    players.play(*both_variants(job)).check(64)


def test_a_job_that_takes_longer_than_a_presigned_url_lives_plays_to_its_end(
    service: Service, players: Players
) -> None:
    if service.settings.media != "redirect":
        pytest.skip("the API sends the media itself, so no viewer has a presigned URL")
    job = service.submit(**LONG)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_presigned_url_of_the_first_chunk, service, job.id)
        played = players.play(job.links.playlist, seconds=400)
    assert played.frames == dict.fromkeys(played.frames, NUM_LONG_FRAMES)
    assert played.seconds["hls.js 0"] == pytest.approx(NUM_LONG_FRAMES / FPS, abs=0.1)
    # Chromium's own player (156) leaves out some chunks of a long live playlist, about one in twenty.
    assert played.seconds["Chromium 0"] > URL_SECONDS
    assert httpx.get(first.result(), trust_env=False, timeout=30).is_client_error, "it has expired"


def _presigned_url_of_the_first_chunk(service: Service, job_id: str) -> str:
    service.wait_for_chunks(job_id, 1)
    listed = service.http.get(f"/jobs/{job_id}/chunks", params={"include": "presigned_urls"}).json()
    url = str(listed["chunks"][0]["presigned_url"])
    assert httpx.get(url, trust_env=False, timeout=30).status_code == httpx.codes.OK
    return url
