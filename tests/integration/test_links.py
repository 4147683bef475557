"""Links of a deployment with API keys, in a real player: it has no key, only the link."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.helpers.browser import check_plays_whole, chromium, play_by_hls_js
from tests.helpers.customers import ADMIN_KEY, bearer
from tests.helpers.players import frames_by_ffmpeg, hls_js_library
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Its client has a customer's key. A chunk takes half a second."""
    folder = tmp_path_factory.mktemp("service")
    write_fake_preset(folder / "presets", "fake", steps=5, step_seconds=0.1)
    settings = {"default_model": "fake", "admin_key": SecretStr(ADMIN_KEY)}
    with running_service(folder, folder / "presets", **settings) as service:
        made = service.http.post("/keys", json={"name": "Example Ltd"}, headers=bearer(ADMIN_KEY))
        service.http.headers.update(bearer(made.json()["key"]))
        service.start_workers("fake")
        yield service


def without_token(url: str) -> str:
    return url.partition("?")[0]


@pytest.mark.parametrize("media", ["proxy", "redirect"])
def test_a_player_with_a_link_plays_every_frame_live_and_afterwards(service: Service, media: str) -> None:
    (api, *_) = [child for child in service.children() if child.name == "api"]
    service.stop(api)
    service.choose(media=media)
    service.start_api()
    job = service.submit(num_frames=64, fps=16)
    assert frames_by_ffmpeg(job.links.playlist) == 64
    ended = service.wait_for_success(job.id)
    assert frames_by_ffmpeg(ended.links.playlist) == frames_by_ffmpeg(ended.links.video) == 64
    assert frames_by_ffmpeg(ended.chunks[0].url) == 16


def test_a_page_of_another_origin_plays_by_a_link(service: Service, tmp_path: Path) -> None:
    job, library = service.submit(num_frames=64, fps=16), hls_js_library(tmp_path)
    with chromium() as browser:
        page = browser.new_page()
        play_by_hls_js(page, job.links.playlist, library)
        check_plays_whole(page, seconds=4)
        page.close()


def test_a_player_without_token_or_with_a_revoked_link_plays_nothing(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=16).id)
    with pytest.raises(AssertionError, match="401"):
        frames_by_ffmpeg(without_token(job.links.video))
    assert service.http.post(f"/jobs/{job.id}/revoke-links").status_code == 204
    with pytest.raises(AssertionError, match="401"):
        frames_by_ffmpeg(job.links.playlist)
    service.redis().flushdb()  # the record, and the key, are rebuilt from the bucket
    with pytest.raises(AssertionError, match="401"):
        frames_by_ffmpeg(job.links.playlist)
    assert frames_by_ffmpeg(service.job(job.id).links.playlist) == 16
