"""States of the page that come seldom: a failed job, an outage, a refused clipboard, a way back into a long list."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.helpers.axe import faults_of, rules_of_axe
from tests.helpers.deadline import eventually
from tests.helpers.service import Service
from tests.helpers.web_page import Opened, live_service, opened

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
FPS = 8
SHORT = {"model": "live", "num_frames": 16, "fps": FPS}
MANY = 60
"""Jobs, so that the list has three pages."""
NO_CLIPBOARD = """(() => {
  Object.defineProperty(navigator, 'clipboard', {value: undefined})
  document.execCommand = () => false
})()"""
DROP = """(field, [name, type, bytes]) => {
  const carried = new DataTransfer()
  carried.items.add(new File([new Uint8Array(bytes)], name, {type}))
  field.dispatchEvent(new DragEvent('drop', {dataTransfer: carried, bubbles: true, cancelable: true}))
}"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with live_service(tmp_path_factory.mktemp("service"), steps=1, accepts_image=True) as service:
        yield service


@pytest.fixture(scope="module")
def failed_job(service: Service) -> str:
    """A job of which not a frame was made: its picture is none."""
    upload = (
        service.http.post("/uploads", json={"content_type": "image/png", "size_bytes": 4}).raise_for_status().json()
    )
    httpx.put(upload["url"], headers=upload["headers"], content=b"none", trust_env=False, timeout=30).raise_for_status()
    job = service.wait_for_end(service.submit(**SHORT, prompt="red failed", image=upload["id"]).id)
    assert job.status == "failed"
    return job.id


def test_a_job_that_failed_says_why_and_offers_no_video(web: Opened, failed_job: str) -> None:
    web.watch(failed_job)
    expect(web.page.locator(".heading .badge")).to_have_text("failed")
    expect(web.page.get_by_text("by its first bytes: give one of image/png")).to_be_visible()
    expect(web.page.get_by_text("There is nothing to play.")).to_be_visible()
    expect(web.page.get_by_role("slider")).to_be_hidden()
    expect(web.page.get_by_role("button", name="Pause")).to_be_hidden()
    expect(web.page.get_by_role("button", name="Copy playlist")).to_be_hidden()
    expect(web.page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_job_is_shown_as_soon_as_it_can_be_read(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(**SHORT, prompt="red after an outage").id)
    problem = {"status": 503, "code": "unavailable", "detail": "The store does not answer.", "fix": "try again later"}
    web.page.route(f"**/jobs/{job.id}", lambda route: route.fulfill(status=503, json=problem))
    web.page.goto(f"{web.base_url}/#/jobs/{job.id}")
    expect(web.page.get_by_role("alert").filter(has_text="The store does not answer: try again later")).to_be_visible()
    web.page.unroute(f"**/jobs/{job.id}")
    expect(web.page.get_by_role("heading", level=1)).to_have_text("red after an outage", timeout=30_000)
    expect(web.page.get_by_role("alert").filter(has_text="The store")).to_have_count(0)
    web.wait_until_ended()
    web.forget_failed_requests()


def test_what_the_form_said_of_an_outage_goes_when_it_is_over(web: Opened) -> None:
    web.home()
    expect(web.page.get_by_role("combobox", name="Model")).to_have_value("live")
    problem = {"status": 503, "code": "unavailable", "detail": "The store does not answer.", "fix": "try again later"}
    web.page.route("**/jobs?dry_run=true", lambda route: route.fulfill(status=503, json=problem))
    web.page.get_by_label("What the video shows").fill("red outage")
    said = web.page.locator(".make .reason")
    expect(said).to_have_text("The store does not answer: try again later")
    web.page.unroute("**/jobs?dry_run=true")
    expect(said).to_have_text("", timeout=30_000)
    web.forget_failed_requests()


def test_a_picture_that_could_not_be_read_is_there_after_a_while(service: Service, web: Opened) -> None:
    service.wait_for_success(service.submit(**SHORT, prompt="red picture").id)
    web.page.clock.install()
    web.page.route("**/thumbnail.jpg*", lambda route: route.fulfill(status=503))
    web.home()
    tile = web.page.get_by_role("link").filter(has_text="red picture")
    expect(tile).to_be_visible()
    expect(tile.locator("img")).to_be_hidden()
    web.page.unroute("**/thumbnail.jpg*")
    web.page.clock.fast_forward(31_000)
    expect(tile.locator("img")).to_be_visible()
    assert tile.locator("img").evaluate("async picture => { await picture.decode(); return picture.naturalWidth }")
    web.forget_failed_requests()


def test_what_cannot_be_copied_is_not_called_copied(service: Service, web: Opened) -> None:
    web.page.add_init_script(NO_CLIPBOARD)
    web.watch(service.wait_for_success(service.submit(**SHORT).id).id)
    web.wait_until_ended()
    for key in ("Home", "k", "Home", "ArrowRight"):
        web.page.get_by_role("slider").press(key)
    expect(web.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    web.page.get_by_role("button", name="Copy link").click()
    expect(web.page.locator(".note")).to_contain_text("cannot copy")
    expect(web.page.locator(".note")).to_contain_text("?t=1.0")
    expect(web.page.get_by_role("button", name="Copy link")).to_be_focused()


def test_the_way_back_leads_to_the_same_place_of_the_list(service: Service, web: Opened) -> None:
    jobs = [service.submit(**SHORT, prompt=f"red item {number} of many").id for number in range(MANY)]
    service.wait_for_success(jobs[-1], seconds=180)
    web.home()
    chosen = web.page.get_by_role("link").filter(has_text="red item 3 of many")
    expect(web.page.locator(".gallery li").first).to_be_visible()

    def is_read() -> bool:
        web.page.mouse.wheel(0, 2000)
        return chosen.count() == 1

    eventually(is_read, "the end of the list to be read")
    chosen.scroll_into_view_if_needed()
    before = web.page.evaluate("scrollY")
    assert before > 500
    chosen.click()
    web.wait_for_video()
    assert web.page.evaluate("scrollY") == 0
    web.page.go_back()
    expect(chosen).to_be_focused()
    eventually(lambda: web.page.evaluate("scrollY") == pytest.approx(before, abs=60), "the place of before")
    web.page.get_by_role("link", name="1 worker").click()
    expect(web.page.get_by_role("table", name="Workers")).to_be_visible()
    web.page.get_by_role("link", name="Videos").click()
    expect(web.page.get_by_role("heading", level=1)).to_be_focused()
    assert web.page.evaluate("scrollY") == 0, "a new visit begins at the top"


@pytest.mark.parametrize(
    ("name", "type_", "size", "said"),
    [
        ("big.png", "image/png", 21_000_000, "at most"),
        ("clip.mp4", "video/mp4", 1000, "is no picture"),
        ("notes.txt", "text/plain", 4, "is no picture"),
    ],
)
def test_a_dropped_file_that_does_not_fit_is_refused_at_once(
    web: Opened, name: str, type_: str, size: int, said: str
) -> None:
    web.home()
    web.page.get_by_label("What the video shows").fill("red dropped")
    web.page.get_by_text("Picture or video to start from").click()
    field = web.page.locator(".drop").first
    field.evaluate(DROP, [name, type_, size])
    expect(field.locator(".field-error")).to_contain_text(f"{name} was not sent")
    expect(field.locator(".field-error")).to_contain_text(said)
    web.forget_failed_requests()


@pytest.mark.parametrize("width", [320, 640])
def test_it_reflows_at_320_pixels_and_at_200_percent(
    service: Service, browser: Browser, failed_job: str, width: int
) -> None:
    """WCAG 1.4.10: 1280 pixels at 400 % are 320. No word of the header is broken."""
    with opened(browser, str(service.http.base_url), viewport={"width": width, "height": 400}) as web:
        for address in ("", f"jobs/{failed_job}", "status"):
            web.page.goto(f"{web.base_url}/#/{address}")
            expect(web.page.get_by_text("1 worker", exact=True).first).to_be_visible()
            assert web.page.evaluate("document.documentElement.scrollWidth") <= width
            if address.startswith("jobs"):
                expect(web.page.locator(".below + .steer")).to_be_visible()
            for name in ("Videos", "API"):
                lines = web.page.get_by_role("link", name=name, exact=True).evaluate("e => e.getClientRects().length")
                box = web.page.get_by_role("link", name=name, exact=True).bounding_box()
                assert lines == 1
                assert box
                assert box["height"] < 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_seldom_states(
    service: Service, browser: Browser, failed_job: str, scheme: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rules = rules_of_axe(tmp_path_factory.mktemp("axe"))
    endless = {"model": "live", "num_frames": None, "fps": FPS, "prompt": "red endless", "metadata": {"for": "y" * 500}}
    endless_job = service.http.post("/jobs", json=endless).raise_for_status().json()["id"]
    with opened(browser, str(service.http.base_url), color_scheme=scheme, bypass_csp=True) as web:
        web.watch(failed_job)
        expect(web.page.get_by_text("There is nothing to play.")).to_be_visible()
        assert faults_of(web.page, rules) == []
        web.watch(endless_job)
        expect(web.page.get_by_text("Change the prompt")).to_be_visible()
        for summary in web.page.locator(".side summary:visible").all():
            summary.click()
        web.page.get_by_role("button", name="Python").click()
        expect(web.page.locator(".note")).to_be_visible()
        assert faults_of(web.page, rules) == []
        web.page.get_by_role("button", name="Stop and keep").click()
        expect(web.page.locator(".heading .badge")).to_have_text("canceled", timeout=30_000)
        assert faults_of(web.page, rules) == []
        web.page.get_by_role("button", name="Delete", exact=True).click()
        expect(web.page.get_by_role("button", name="Undo")).to_be_focused()
        web.page.get_by_label("Search prompts").fill("there is no such prompt")
        expect(web.page.get_by_text("No video fits these filters")).to_be_visible()
        assert faults_of(web.page, rules) == []
        web.page.goto(f"{web.base_url}/#/jobs/none")
        expect(web.page.get_by_role("heading", level=1)).to_have_text("There is no such job")
        assert faults_of(web.page, rules) == []
        web.forget_failed_requests()
