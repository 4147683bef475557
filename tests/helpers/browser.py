"""A headless Chromium (Debian's) and what a test asks of a video element in it. Knows no service.

Driven over the DevTools protocol by Playwright, which downloads no browser of its own then.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.helpers.apt import program
from tests.helpers.deadline import eventually

_ARGUMENTS = ("--no-sandbox", "--autoplay-policy=no-user-gesture-required")  # Chromium's sandbox does not take root
PATIENCE_MS = 30_000
"""So long a page may take to show what a test expects. Playwright's own default is 5 s, which a busy machine misses."""
_ASK = """() => {
  const video = document.querySelector('video')
  return [video.currentTime, video.duration, video.getVideoPlaybackQuality().totalVideoFrames, video.ended,
          video.error ? video.error.message : (window.fatal ?? null),
          Array.from(video.played, (_, number) => [video.played.start(number), video.played.end(number)])]
}"""


@contextmanager
def chromium() -> Generator[Browser]:
    """A browser. Skips the test, with its reason, where there is none."""
    path = program("chromium", ["chromium"])
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Playing:
    """Where the video of a page stands. Times in seconds; `error` is the browser's, or what ended hls.js. `played`:
    begin and end of each stretch that was played in one go. A busy machine counts fewer `frames` than it played."""

    seconds: float
    duration: float | None
    frames: int
    ended: bool
    error: str | None
    played: list[list[float]]


def playing(page: Page) -> Playing:
    """How far the page's one video is."""
    return Playing(*page.evaluate(_ASK))


def play_natively(page: Page, url: str) -> None:
    """Let the browser's own player play `url` in a page of another origin."""
    page.set_content("<video muted crossorigin=anonymous></video>")
    page.evaluate("url => { const v = document.querySelector('video'); v.src = url; v.play() }", url)


def play_by_hls_js(page: Page, url: str, library: Path) -> None:
    """Let hls.js, with its defaults, play `url` in a page of another origin."""
    page.set_content("<video muted></video>")
    page.add_script_tag(path=library)
    page.evaluate(
        """url => {
          const hls = new Hls()
          hls.on(Hls.Events.ERROR, (_, told) => { if (told.fatal) window.fatal = told.details })
          hls.loadSource(url)
          hls.attachMedia(document.querySelector('video'))
          document.querySelector('video').play()
        }""",
        url,
    )


def wait_until_ended(page: Page, seconds: float = 60) -> Playing:
    """The state of the page's video once it has ended. Fails at once where it cannot be played."""

    def ended() -> Playing | None:
        state = playing(page)
        assert state.error is None, state
        return state if state.ended else None

    return eventually(ended, "the video to end", seconds=seconds)


def check_plays_whole(page: Page, seconds: float) -> None:
    """The video of the page plays from its beginning to its end after so many seconds, in one go.

    How many of its frames were painted, or counted, is not asked: a busy machine leaves some out. That all are there is
    what programs count that wait for each (tests/helpers/players.py).
    """
    ended = wait_until_ended(page)
    assert ended.played == [[pytest.approx(0, abs=0.1), pytest.approx(seconds, abs=0.1)]]
    assert ended.frames > 0
