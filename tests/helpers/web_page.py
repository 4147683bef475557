"""What a test asks of the page at `/` in a real browser: what it shows, what it played, and what it did wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.helpers.browser import PATIENCE_MS
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

# Before the page's own scripts: notes the frames that are presented, by their place in the video, the places at which
# the page was painted while the video played, and how many sources a video got.
_COUNT_FRAMES = """(() => {
  window.presented = []
  window.painted = []
  window.sources = 0
  const makeUrl = URL.createObjectURL.bind(URL)
  URL.createObjectURL = (thing) => { window.sources += 1; return makeUrl(thing) }
  const count = (video) => {
    const told = (_, {mediaTime}) => { window.presented.push(mediaTime); video.requestVideoFrameCallback(told) }
    video.requestVideoFrameCallback(told)
    const paint = () => { if (!video.paused) window.painted.push(video.currentTime); requestAnimationFrame(paint) }
    requestAnimationFrame(paint)
  }
  new MutationObserver((records) => {
    for (const {addedNodes} of records) for (const node of addedNodes) {
      if (node.querySelectorAll) for (const video of node.querySelectorAll('video.screen')) count(video)
    }
  }).observe(document, {childList: true, subtree: true})
})()"""

_PLAYED = """(() => {
  const {played} = document.querySelector('video.screen')
  return Array.from({length: played.length}, (_, index) => [played.start(index), played.end(index)])
})()"""
WELL_INSIDE = 0.25
"""Of a frame's time: at its edges nobody knows whether it or its neighbour is on the screen."""
PAINTS_THAT_OWE = 2
"""Of the page well inside a frame's time. Where it was painted once, the frame may have come just too late for it."""


@dataclass
class Opened:
    """A page, and what went wrong in it: messages of the console, exceptions, requests to other hosts."""

    page: Page
    base_url: str
    wrong: list[str] = field(default_factory=list[str])
    foreign: list[str] = field(default_factory=list[str])

    def watch(self, job_id: str, query: str = "") -> None:
        self.page.goto(f"{self.base_url}/#/jobs/{job_id}{query}")
        self.wait_for_video()

    def wait_for_video(self) -> None:
        self.page.locator("video.screen").wait_for()

    def home(self) -> None:
        self.page.goto(f"{self.base_url}/")

    def frames(self, fps: int) -> set[int]:
        """Numbers of the frames that the browser has presented."""
        return {round(seconds * fps) for seconds in self.page.evaluate("window.presented")}

    def check_frames(self, first: int, end: int, fps: int) -> None:
        """Every frame from `first` to before `end` was played, once and in one go, and presented. On a machine that has
        no time a browser paints nothing for a while: of the frames that were due then none is owed."""
        played = self.page.evaluate(_PLAYED)
        assert played == [[pytest.approx(first / fps, abs=0.2), pytest.approx(end / fps, abs=0.1)]]
        places = [seconds * fps for seconds in self.page.evaluate("window.painted")]
        paints = Counter(int(place) for place in places if WELL_INSIDE < place % 1 < 1 - WELL_INSIDE)
        owed = {frame for frame, count in paints.items() if count >= PAINTS_THAT_OWE}
        shown = self.frames(fps)
        assert shown <= set(range(end))
        assert [frame for frame in sorted(owed - shown) if first < frame < end] == []
        assert shown, "no frame at all was presented"

    def place(self) -> float:
        """Seconds."""
        return float(self.page.evaluate("document.querySelector('video.screen').currentTime"))

    def has_ended(self) -> bool:
        return bool(self.page.evaluate("document.querySelector('video.screen').ended"))

    def wait_until_ended(self, seconds: float = 90) -> None:
        eventually(self.has_ended, "the video to end", seconds=seconds)

    def note(self, told: ConsoleMessage) -> None:
        """What the page told the console, with the address that it is about."""
        if told.type in {"error", "warning"} and not _is_late_check(told):
            self.wrong.append(f"{told.text} ({told.location['url']})")

    def forget_failed_requests(self) -> None:
        """Browsers tell the console of each request that failed."""
        self.wrong[:] = [text for text in self.wrong if "Failed to load resource" not in text]


def _is_late_check(told: ConsoleMessage) -> bool:
    """Whether the service said that it is not ready. Its checks wait for Redis and S3 for a short time only, which a
    machine that is busy with other tests may exceed; the page asks again, and what does not work fails elsewhere."""
    return "status of 503" in told.text and urlsplit(told.location["url"]).path == "/readyz"


@contextmanager
def opened(browser: Browser, base_url: str, **options: object) -> Generator[Opened]:
    """A page of its own. `options`: of the browser's context. Nothing goes wrong in it, or the test fails."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    context.add_init_script(_COUNT_FRAMES)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    opened = Opened(page, base_url.rstrip("/"))
    host = urlsplit(base_url).hostname
    page.on("console", opened.note)
    page.on("pageerror", lambda error: opened.wrong.append(str(error)))
    page.on(
        "request",
        lambda request: (
            opened.foreign.append(request.url) if urlsplit(request.url).hostname not in {host, None, ""} else None
        ),
    )
    try:
        yield opened
        assert not opened.wrong, opened.wrong
        assert not opened.foreign, opened.foreign
    finally:
        context.close()


@contextmanager
def live_service(folder: Path, **preset: Any) -> Generator[Service]:
    """A service with a worker for the fake preset `live`, which has these values, beside presets that are there."""
    write_fake_preset(folder / "presets", "live", **preset)
    with running_service(folder, folder / "presets", default_model="live", media="proxy") as service:
        service.start_workers("live")
        yield service
