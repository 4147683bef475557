"""The page makes jobs, shows all of them as they change, and keeps the API key to itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Route, expect
from pydantic import SecretStr

from tests.helpers.axe import faults_of, rules_of_axe
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service
from tests.helpers.web_page import Opened, live_service, opened

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
ADMIN_KEY = "an-admin-key-of-32-characters-or-more"
COUNT_SHIFTS = """window.shift = 0
new PerformanceObserver((list) => { for (const {value} of list.getEntries()) window.shift += value })
  .observe({type: "layout-shift", buffered: true})"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with live_service(tmp_path_factory.mktemp("service"), steps=5, step_seconds=0.1, accepts_image=True) as service:
        yield service


@pytest.fixture
def web(web: Opened) -> Opened:
    web.home()
    return web


def card(web: Opened, prompt: str) -> Locator:
    return web.page.get_by_role("link").filter(has_text=prompt)


def describe(web: Opened, prompt: str) -> None:
    expect(web.page.get_by_role("combobox", name="Model")).to_have_value("live")
    web.page.get_by_label("What the video shows").fill(prompt)


def forget_refusals(web: Opened) -> None:
    """Browsers tell the console of each 4xx that a page is given."""
    web.wrong[:] = [text for text in web.wrong if "status of 4" not in text]


def test_a_video_is_made_and_watched_at_once(service: Service, web: Opened) -> None:
    describe(web, "red made here")
    web.page.get_by_label("Length", exact=True).fill("4")
    expect(web.page.get_by_text("4.0 s of video in 2 chunks.")).to_be_visible()
    web.page.get_by_role("button", name="Make the video").click()
    expect(web.page.get_by_role("heading", level=1)).to_have_text("red made here")
    web.wait_for_video()
    web.wait_until_ended()
    web.check_frames(0, 32, 8)
    (job,) = (job for job in service.http.get("/jobs").json()["jobs"] if job["request"]["prompt"] == "red made here")
    assert job["id"] in web.page.url


def test_one_request_is_one_job_however_often_it_is_sent(service: Service, web: Opened) -> None:
    describe(web, "red once")
    web.page.get_by_label("What the video shows").press("Control+Enter")
    expect(web.page.get_by_role("heading", level=1)).to_have_text("red once")
    found = [job for job in service.http.get("/jobs").json()["jobs"] if job["request"]["prompt"] == "red once"]
    assert len(found) == 1
    assert found[0]["request"]["num_frames"] == service.settings.default_num_frames


def test_what_is_wrong_is_said_at_its_field_with_its_fix(web: Opened) -> None:
    describe(web, "red " * 30)
    prompt = web.page.get_by_label("What the video shows")
    expect(prompt).to_have_attribute("aria-invalid", "true")
    expect(prompt).to_have_accessible_description(re.compile("30 tokens.*shorten"))
    web.page.get_by_text("More settings").click()
    web.page.get_by_label("Guidance").fill("99")
    expect(web.page.get_by_label("Guidance")).to_have_accessible_description(re.compile("above 30"))
    web.page.get_by_label("Guidance").fill("")
    web.page.get_by_role("button", name="Make the video").click()
    expect(prompt).to_be_focused()
    prompt.fill("red square")
    expect(prompt).not_to_have_attribute("aria-invalid", "true")
    forget_refusals(web)


def test_a_picture_is_sent_and_begins_the_video(service: Service, web: Opened, tmp_path: Path) -> None:
    picture = tmp_path / "first.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    describe(web, "red from a picture")
    web.page.get_by_text("Picture or video to start from").click()
    with web.page.expect_file_chooser() as chooser:
        web.page.get_by_role("button", name="Choose a file").first.click()
    chooser.value.set_files(picture)
    expect(web.page.get_by_text("first.png,")).to_be_visible()
    expect(web.page.get_by_label("First picture", exact=True)).to_have_attribute("placeholder", "first.png")
    web.page.get_by_role("button", name="Make the video").click()
    expect(web.page.get_by_role("heading", level=1)).to_have_text("red from a picture")
    expect(web.page.locator(".heading .badge")).to_have_text("succeeded", timeout=60_000)
    jobs = service.http.get("/jobs").json()["jobs"]
    (asked,) = (job["request"] for job in jobs if job["request"]["prompt"] == "red from a picture")
    assert asked["image"].startswith("upl_")


def test_a_file_that_is_being_sent_has_a_bar(web: Opened, tmp_path: Path) -> None:
    picture = tmp_path / "slow.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    held = list[Route]()
    web.page.route(lambda url: "upl_" in url, lambda route: held.append(route))
    describe(web, "red slowly")
    web.page.get_by_text("Picture or video to start from").click()
    field = web.page.locator(".drop").filter(has_text="First picture")
    field.locator("input[type=file]").set_input_files(picture)
    bar = web.page.get_by_role("progressbar", name="Sending the image")
    expect(bar).to_be_visible()
    eventually(lambda: bool(web.page.evaluate("1")) and len(held) > 0, "the file to be sent")
    for route in held:
        route.continue_()
    expect(field.locator("input[type=text]")).to_have_attribute("placeholder", "slow.png")
    expect(bar).to_be_hidden()


def test_a_picture_moves_while_it_is_pointed_at_or_has_the_focus(service: Service, web: Opened) -> None:
    service.wait_for_success(service.submit(model="live", num_frames=16, prompt="red moving tile").id)
    tile = card(web, "red moving tile")
    expect(tile.locator("img")).to_be_visible()
    expect(tile.locator("video")).to_have_count(0)
    tile.hover()
    moving = "video => !video.paused && video.currentTime > 0 && getComputedStyle(video).position === 'absolute'"
    eventually(lambda: tile.locator("video").evaluate(moving), "the picture to move")
    web.page.mouse.move(0, 0)
    expect(tile.locator("video")).to_have_count(0)
    tile.focus()
    expect(tile.locator("video")).to_have_count(1)
    web.page.emulate_media(reduced_motion="reduce")
    tile.blur()
    tile.hover()
    expect(tile.locator("video")).to_have_count(0)


def test_nothing_jumps_when_the_form_gets_its_fields(service: Service, web: Opened) -> None:
    service.wait_for_success(service.submit(model="live", num_frames=16, prompt="red still").id)
    web.page.add_init_script(COUNT_SHIFTS)

    def late(route: Route) -> None:
        web.page.wait_for_timeout(300)
        route.continue_()

    web.page.route("**/models", late)
    web.page.reload()
    expect(card(web, "red still").locator("img")).to_be_visible()
    expect(web.page.get_by_role("combobox", name="Model")).to_have_value("live")
    assert web.page.evaluate("window.shift") < 0.05


def test_the_gallery_changes_by_itself(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=32, prompt="red elsewhere")
    expect(card(web, "red elsewhere")).to_be_visible()
    expect(card(web, "red elsewhere")).to_contain_text("succeeded")
    expect(card(web, "red elsewhere").locator("img")).to_be_visible()
    card(web, "red elsewhere").focus()
    service.submit(model="live", num_frames=16, prompt="red newer")
    expect(card(web, "red newer")).to_be_visible()
    expect(card(web, "red elsewhere")).to_be_focused()
    service.http.delete(f"/jobs/{job.id}")
    expect(card(web, "red elsewhere")).to_have_count(0)


def test_the_gallery_is_filtered_and_remembers_it(service: Service, web: Opened) -> None:
    service.wait_for_success(service.submit(model="live", num_frames=16, prompt="red findable").id)
    expect(card(web, "red findable")).to_be_visible()
    web.page.get_by_label("Search prompts").fill("findable")
    expect(web.page.locator(".gallery li")).to_have_count(1)
    web.page.reload()
    expect(web.page.locator(".gallery li")).to_have_count(1)
    web.page.get_by_label("Status").select_option("failed")
    expect(web.page.get_by_text("No video fits these filters")).to_be_visible()
    web.page.get_by_label("Status").select_option("succeeded")
    expect(card(web, "red findable")).to_be_visible()


def test_all_pages_of_the_list_are_there(service: Service, web: Opened) -> None:
    for number in range(30):
        service.submit(model="live", num_frames=16, prompt=f"red many {number}")
    web.page.get_by_label("Search prompts").fill("red many")
    expect(web.page.locator(".gallery li")).to_have_count(30, timeout=60_000)


def test_it_says_that_it_is_not_up_to_date_and_recovers(service: Service, web: Opened) -> None:
    expect(web.page.get_by_text("1 worker")).to_be_visible()
    (api,) = [child for child in service.children() if child.name == "api"]
    service.stop(api)
    expect(web.page.get_by_text("not up to date")).to_be_visible()
    service.start_api()
    expect(web.page.get_by_text("not up to date")).to_be_hidden(timeout=60_000)
    service.submit(model="live", num_frames=16, prompt="red after")
    expect(card(web, "red after")).to_be_visible()
    web.wrong.clear()  # the browser tells of requests that nobody answered


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(service: Service, browser: Browser, scheme: str, tmp_path: Path) -> None:
    rules = rules_of_axe(tmp_path)
    job = service.wait_for_success(service.submit(model="live", num_frames=32, prompt="red for all").id)
    with opened(browser, str(service.http.base_url), color_scheme=scheme, bypass_csp=True) as web:
        web.home()
        expect(card(web, "red for all").first).to_be_visible()
        web.page.get_by_role("button", name="Then another prompt").click()
        for summary in web.page.locator("summary:visible").all():
            summary.click()
        assert faults_of(web.page, rules) == []
        web.watch(job.id)
        web.wait_until_ended()
        for summary in web.page.locator("summary:visible").all():
            summary.click()
        expect(web.page.get_by_text("32 frames. Choose a picture")).to_be_visible(timeout=30_000)
        expect(web.page.get_by_role("rowheader", name="commit")).to_be_visible()
        assert faults_of(web.page, rules) == []
        web.page.goto(f"{web.base_url}/#/status")
        expect(web.page.get_by_role("table", name="Workers")).to_be_visible()
        assert faults_of(web.page, rules) == []


def test_a_key_is_asked_for_and_is_never_in_an_address(browser: Browser, tmp_path: Path) -> None:
    """Media come from the object storage here, to which the API sends the browser."""
    write_fake_preset(tmp_path / "presets", "live")
    keys = {"default_model": "live", "media": "redirect", "admin_key": SecretStr(ADMIN_KEY)}
    with running_service(tmp_path, tmp_path / "presets", **keys) as service:
        service.start_workers("live")
        service.http.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
        job = service.wait_for_success(service.submit(model="live", num_frames=16, prompt="red secret").id)
        with opened(browser, str(service.http.base_url)) as web:
            asked: list[str] = []
            web.page.on("request", lambda request: asked.append(request.url))
            web.home()
            expect(web.page.get_by_role("dialog")).to_be_visible()
            web.page.get_by_label("Key", exact=True).fill(ADMIN_KEY)
            web.page.get_by_role("button", name="Use this key").click()
            expect(card(web, "red secret").locator("img")).to_be_visible()
            card(web, "red secret").click()
            web.wait_for_video()
            web.wait_until_ended()
            web.check_frames(0, 16, 8)
            web.page.reload()
            expect(web.page.get_by_role("heading", level=1)).to_have_text("red secret")
            assert not [url for url in [*asked, web.page.url] if ADMIN_KEY in url]
            assert web.page.evaluate("localStorage.length") == 0
            assert f"/jobs/{job.id}/chunks/0.mp4?token=" in " ".join(asked)
            forget_refusals(web)
