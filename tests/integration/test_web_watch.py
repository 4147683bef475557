"""The page plays a job in a real browser: every frame once, while it is made, without ever beginning again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service
from tests.helpers.web_page import Opened, opened

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
FPS = 8
LIVE = {"model": "live", "num_frames": 64, "fps": FPS}
"""Four chunks of two seconds each, one made in 0.5 s."""
SLOW = {"model": "slow", "num_frames": 48, "fps": FPS}
"""Three chunks of two seconds each, one made in 4 s."""
MARKUP = "<img src=x onerror=hacked()>"
"""Were it markup, the page would tell of an exception."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    write_fake_preset(folder / "presets", "live", steps=5, step_seconds=0.1)
    write_fake_preset(folder / "presets", "slow", steps=8, step_seconds=0.5, refiner=True)
    write_fake_preset(folder / "presets", "odd", description=f"A model {MARKUP}")
    write_fake_preset(folder / "presets", MARKUP)  # a name that a folder may have
    with running_service(folder, folder / "presets", default_model="live", media="proxy") as service:
        service.start_workers("live", "slow")
        yield service


def test_every_frame_is_shown_live_from_before_the_first_chunk(service: Service, web: Opened) -> None:
    web.watch(service.submit(**LIVE).id)
    web.wait_until_ended()
    web.check_frames(0, 64, FPS)
    assert web.page.evaluate("window.sources") == 1, "one source from beginning to end"
    expect(web.page.locator(".heading .badge")).to_have_text("succeeded")


def test_every_frame_is_shown_of_what_is_made_more_slowly_than_it_plays(service: Service, web: Opened) -> None:
    web.watch(service.submit(**SLOW).id)
    expect(web.page.locator(".wait")).to_contain_text("made more slowly than it plays", timeout=60_000)
    web.wait_until_ended()
    web.check_frames(0, 48, FPS)
    assert web.page.evaluate("window.sources") == 1


@pytest.mark.parametrize("is_live", [True, False])
def test_a_browser_without_media_source_plays_the_playlist(service: Service, web: Opened, is_live: bool) -> None:
    web.page.add_init_script("delete window.MediaSource; delete window.ManagedMediaSource")
    job = service.submit(**LIVE)
    if not is_live:
        service.wait_for_success(job.id)
    web.watch(job.id)
    web.wait_until_ended()
    assert web.page.evaluate("document.querySelector('video.screen').currentSrc").endswith("/playlist.m3u8")
    assert web.place() == pytest.approx(8, abs=0.2)


def test_a_reload_in_mid_run_goes_on_at_its_place(service: Service, web: Opened) -> None:
    web.watch(service.submit(**LIVE).id)
    eventually(lambda: "t=" in web.page.evaluate("location.hash"), "the place to be in the address")
    web.page.reload()
    web.wait_for_video()
    eventually(lambda: web.place() > 0, "the video to play again")
    web.wait_until_ended()
    first = min(web.frames(FPS))
    assert first >= 2 * FPS
    web.check_frames(first, 64, FPS)


def test_an_extended_job_goes_on_where_it_ended(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=24, fps=FPS)
    web.watch(job.id)
    web.wait_until_ended()
    service.wait_for_success(job.id)
    service.http.post(f"/jobs/{job.id}/extend", json={"num_frames": 24}).raise_for_status()
    web.page.reload()
    web.wait_for_video()
    web.wait_until_ended()
    web.check_frames(0, 48, FPS)


def test_the_refined_variant_keeps_the_place(service: Service, web: Opened) -> None:
    job = service.submit(**SLOW, refine=True)
    service.wait_for_success(job.id)
    web.watch(job.id)
    eventually(lambda: web.place() > 1, "the video to play")
    before = web.place()
    web.page.get_by_role("button", name="refined").click()
    eventually(lambda: web.page.evaluate("document.querySelector('video.screen').videoWidth") == 128, "refined frames")
    assert web.place() >= before
    assert "v=refined" in web.page.url
    assert web.page.evaluate("window.sources") == 1
    web.wait_until_ended()


def test_the_timeline_goes_to_any_place_by_keyboard(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(**LIVE).id)
    web.watch(job.id)
    eventually(lambda: web.place() > 0, "the video to play")
    web.page.keyboard.press("Escape")
    slider = web.page.get_by_role("slider", name="Place in the video")
    slider.focus()
    web.page.keyboard.press("k")
    web.page.keyboard.press("Home")
    web.page.keyboard.press("PageUp")
    eventually(lambda: web.place() == pytest.approx(2, abs=0.3), "the second chunk")
    assert slider.get_attribute("aria-valuetext") == "2.0 s of 8.0 s, chunk 2"
    web.page.keyboard.press("End")
    eventually(lambda: web.place() == pytest.approx(8, abs=0.2), "the end")
    share = """element => {
      const [mark, whole] = [element.querySelector('.playhead'), element].map(e => e.getBoundingClientRect())
      return (mark.x + mark.width / 2 - whole.x) / whole.width
    }"""
    eventually(lambda: slider.evaluate(share) == pytest.approx(1, abs=0.01), "the playhead to be there")


def test_markup_is_shown_as_text(service: Service, web: Opened) -> None:
    job = service.submit(**LIVE, prompt=f"red {MARKUP}", metadata={f"key {MARKUP}"[:64]: MARKUP})
    web.watch(job.id)
    expect(web.page.get_by_role("heading", level=1)).to_have_text(f"red {MARKUP}")
    expect(web.page.locator(".metadata dd")).to_have_text(MARKUP)
    web.home()
    expect(web.page.locator(".title", has_text="onerror").first).to_be_visible()
    web.page.get_by_role("combobox", name="Model").select_option("odd")
    expect(web.page.get_by_text(f"A model {MARKUP}")).to_be_visible()
    assert web.page.locator("main img[src='x']").count() == 0


def test_the_name_of_a_model_is_shown_as_text_wherever_it_is(service: Service, web: Opened) -> None:
    job = service.submit(model=MARKUP, num_frames=16, prompt="red unmade")
    try:
        web.home()
        web.page.get_by_role("combobox", name="Model").select_option(MARKUP)
        expect(web.page.get_by_role("link").filter(has_text="red unmade").locator(".notes")).to_contain_text(MARKUP)
        web.watch(job.id)
        expect(web.page.locator(".facts dd").filter(has_text=MARKUP)).to_have_count(1)
        web.page.goto(f"{web.base_url}/#/status")
        expect(web.page.get_by_role("table", name="Queues")).to_contain_text(MARKUP)
        assert web.page.locator("img[src='x']").count() == 0
    finally:
        service.http.delete(f"/jobs/{job.id}")


def test_there_is_no_such_job(web: Opened) -> None:
    web.page.goto(f"{web.base_url}/#/jobs/job_none")
    expect(web.page.get_by_role("heading", level=1)).to_have_text("There is no such job")
    assert [text for text in web.wrong if "404" not in text] == []
    web.wrong.clear()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (360, "light"), (1600, "dark"), (1600, "light")])
def test_it_fits_phones_and_wide_screens(service: Service, browser: Browser, width: int, scheme: str) -> None:
    job = service.wait_for_success(service.submit(**LIVE, prompt="x" * 300).id)
    size = {"width": width, "height": 700}
    with opened(browser, str(service.http.base_url), viewport=size, color_scheme=scheme) as web:
        for go in (lambda: web.watch(job.id), web.home):
            go()
            expect(web.page.get_by_text("x" * 300).first).to_be_visible()
            for summary in web.page.locator("summary:visible").all():
                summary.click()
            assert web.page.evaluate("document.documentElement.scrollWidth") <= width
        web.page.goto(f"{web.base_url}/#/status")
        expect(web.page.get_by_role("table", name="Workers")).to_be_visible()
        assert web.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_restart_of_the_server_in_mid_run_loses_nothing(service: Service, web: Opened) -> None:
    job = service.submit(**SLOW)
    web.watch(job.id)
    eventually(lambda: web.place() > 0.5, "the video to play", seconds=60)
    (api,) = [child for child in service.children() if child.name == "api"]
    service.stop(api)
    expect(web.page.locator(".outage")).to_be_visible(timeout=30_000)
    service.start_api()
    expect(web.page.locator(".outage")).to_be_hidden(timeout=60_000)
    web.wait_until_ended()
    web.check_frames(0, 48, FPS)
    web.wrong.clear()  # the browser tells of requests that nobody answered
