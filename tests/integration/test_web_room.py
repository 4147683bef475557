"""The page keeps the media around the playhead, and needs no more memory for hours of video than for minutes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.deadline import eventually
from tests.helpers.service import Service
from tests.helpers.web_page import Opened, live_service

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
FPS = 2
SECONDS = 400
KEPT = 60 + 40 + 20 + 2 * 8
"""Seconds: behind the playhead, ahead of it, the slack of both sides, and the chunks at the edges."""
QUOTA = 30
"""Seconds of video for which the small browser has room."""
VIDEO = "document.querySelector('video.screen')"
LOADED = """(() => {
  const {buffered} = document.querySelector('video.screen')
  return Array.from({length: buffered.length}, (_, index) => buffered.end(index) - buffered.start(index))
})()"""
LITTLE_ROOM = f"""(() => {{
  const append = SourceBuffer.prototype.appendBuffer
  window.refused = 0
  SourceBuffer.prototype.appendBuffer = function (data) {{
    let seconds = 0
    for (let index = 0; index < this.buffered.length; index += 1) {{
      seconds += this.buffered.end(index) - this.buffered.start(index)
    }}
    if (seconds < {QUOTA}) return append.call(this, data)
    window.refused += 1
    throw new DOMException("no room", "QuotaExceededError")
  }}
}})()"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with live_service(tmp_path_factory.mktemp("service"), steps=1) as service:
        yield service


@pytest.fixture(scope="module")
def long_job(service: Service) -> str:
    return service.wait_for_success(service.submit(model="live", num_frames=SECONDS * FPS, fps=FPS).id).id


def jump(web: Opened, seconds: float) -> None:
    """To a place, and on until it has been playing there."""
    web.page.evaluate(f"{VIDEO}.currentTime = {seconds}")
    eventually(lambda: seconds + 0.5 < web.place() < seconds + 30, f"it to play at {seconds} s", seconds=60)


def test_media_far_from_the_playhead_are_given_up(web: Opened, long_job: str) -> None:
    web.watch(long_job)
    for seconds in (50, 100, 150, 200, 250, 300, 350, 10):
        jump(web, seconds)
    eventually(lambda: sum(web.page.evaluate(LOADED)) <= KEPT, "what is far away to be given up")
    jump(web, 380)
    web.wait_until_ended()


def test_it_plays_on_and_back_where_the_browser_has_no_room(web: Opened, long_job: str) -> None:
    web.page.add_init_script(LITTLE_ROOM)
    web.watch(long_job)
    for seconds in (30, 200, 5, 300, 0.1):
        jump(web, seconds)
    assert web.page.evaluate("window.refused") > 0
