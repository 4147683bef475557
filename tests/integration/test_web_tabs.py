"""Many tabs of one browser: it opens six connections to a server, and a stream of events keeps one for itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.helpers.deadline import eventually
from tests.helpers.service import Service
from tests.helpers.web_page import Opened, live_service

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
FPS = 8
TABS = 8
MOST_STREAMS = 3
UNDER_WAY = re.compile("queued|running")
HIDE = """(isHidden) => {
  Object.defineProperty(document, 'hidden', {value: isHidden, configurable: true})
  document.dispatchEvent(new Event('visibilitychange'))
}"""
"""Headless Chromium shows all of its tabs."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with live_service(tmp_path_factory.mktemp("service"), steps=5, step_seconds=0.1) as service:
        yield service


class Streams:
    """The event streams that pages have open: of each the page's number and the address."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open = set[str]()

    @property
    def open(self) -> set[str]:
        self._page.evaluate("0")  # what happened is told when the browser is asked something
        return {*self._open}

    def note(self, number: int, page: Page) -> None:
        def named(url: str) -> str:
            return f"{number} {url}"

        page.on("request", lambda request: self._open.add(named(request.url)) if "/events" in request.url else None)
        for ended in ("requestfinished", "requestfailed"):
            page.on(ended, lambda request: self._open.discard(named(request.url)))  # pyright: ignore[reportArgumentType]


def tabs_of(web: Opened, streams: Streams) -> list[Page]:
    pages = [web.page, *(web.page.context.new_page() for _ in range(TABS - 1))]
    for number, page in enumerate(pages):
        streams.note(number, page)
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: web.wrong.append(str(error)))
    return pages


def test_eight_tabs_work_side_by_side(service: Service, web: Opened) -> None:
    """Four galleries and four views of jobs that are being made: all of them learn what happens."""
    jobs = [service.submit(model="live", num_frames=8000, fps=FPS, prompt=f"red {number}").id for number in range(4)]
    streams = Streams(web.page)
    tabs = tabs_of(web, streams)
    galleries, watchers = tabs[:4], tabs[4:]
    for page in galleries:
        page.goto(f"{web.base_url}/")
        expect(page.get_by_role("link").filter(has_text="red 0")).to_be_visible()
    for page, job in zip(watchers, jobs, strict=True):
        page.goto(f"{web.base_url}/#/jobs/{job}")
        expect(page.locator(".heading .badge")).to_have_text(UNDER_WAY)
    service.submit(model="live", num_frames=16, fps=FPS, prompt="red for all tabs")
    for page in galleries:
        expect(page.get_by_role("link").filter(has_text="red for all tabs")).to_be_visible()
    assert 0 < len(streams.open) <= MOST_STREAMS
    for page, job in zip(watchers, jobs, strict=True):
        service.http.post(f"/jobs/{job}/cancel")
        expect(page.locator(".heading .badge")).to_have_text("canceled", timeout=30_000)


def test_a_tab_that_nobody_sees_gives_its_stream_to_others(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=8000, fps=FPS, prompt="red hidden").id
    streams = Streams(web.page)
    pages = tabs_of(web, streams)[: MOST_STREAMS + 1]
    for page in pages:
        page.goto(f"{web.base_url}/#/jobs/{job}")
        expect(page.locator(".heading .badge")).to_have_text(UNDER_WAY)
    first, *_, last = pages
    eventually(lambda: len(streams.open) == MOST_STREAMS, "the streams that there may be")
    followed = streams.open
    first.evaluate(HIDE, True)
    eventually(lambda: any(name.startswith(f"{len(pages) - 1} ") for name in streams.open), "the last tab to get it")
    assert not [name for name in streams.open if name.startswith("0 ")]
    assert followed - streams.open, "the first one gave it up"
    last.evaluate(HIDE, True)
    first.evaluate(HIDE, False)
    eventually(lambda: any(name.startswith("0 ") for name in streams.open), "the first tab to have it again")
    service.http.post(f"/jobs/{job}/cancel")
    for page in pages:
        expect(page.locator(".heading .badge")).to_have_text("canceled", timeout=30_000)


def test_without_locks_only_tabs_that_are_seen_have_a_stream(service: Service, web: Opened) -> None:
    """Browsers have no locks for pages of plain HTTP from another machine."""
    web.page.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', {value: undefined})")
    streams = Streams(web.page)
    streams.note(0, web.page)
    web.home()
    eventually(lambda: streams.open, "the stream of the tab")
    web.page.evaluate(HIDE, True)
    eventually(lambda: not streams.open, "the stream to be given up")
    service.submit(model="live", num_frames=16, fps=FPS, prompt="red unseen")
    expect(web.page.get_by_role("link").filter(has_text="red unseen")).to_be_visible(timeout=30_000)
    web.page.evaluate(HIDE, False)
    eventually(lambda: streams.open, "the stream of the tab")
