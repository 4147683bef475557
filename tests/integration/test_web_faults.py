"""The page when something goes otherwise: jobs that go away, lost connections, wrong files, odd addresses and input."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image
from playwright.sync_api import Locator, Route, expect

from tests.helpers.deadline import eventually
from tests.helpers.service import Service
from tests.helpers.web_page import Opened, live_service

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
FPS = 8
SHORT = {"model": "live", "num_frames": 24, "fps": FPS}
VIDEO = "document.querySelector('video.screen')"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with live_service(tmp_path_factory.mktemp("service"), steps=5, step_seconds=0.1, accepts_image=True) as service:
        yield service


def test_a_job_that_is_deleted_elsewhere_stays_away(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=480, fps=FPS, prompt="red soon gone")
    web.watch(job.id)
    service.http.delete(f"/jobs/{job.id}").raise_for_status()
    expect(web.page.get_by_role("heading", level=1)).to_have_text("There is no such job")
    web.page.wait_for_timeout(1500)  # the view looks once a second
    expect(web.page.get_by_role("heading", level=1)).to_have_text("There is no such job")
    expect(web.page.locator(".heading .badge")).to_be_hidden()
    web.page.get_by_role("link", name="To all videos").click()
    expect(web.page.get_by_label("What the video shows")).to_be_visible()
    web.forget_failed_requests()


def test_a_video_that_has_ended_plays_again(service: Service, web: Opened) -> None:
    web.watch(service.wait_for_success(service.submit(**SHORT).id).id)
    web.wait_until_ended()
    web.page.get_by_role("button", name="Play again").click()
    eventually(
        lambda: 0.2 < web.place() < 2.5 and not web.page.evaluate(f"{VIDEO}.paused"), "it to play from the start"
    )


@pytest.mark.parametrize("address", ["%", "jobs/%E0%A4", "jobs/%20", "nowhere/at/all"])
def test_an_address_that_leads_nowhere_says_so(web: Opened, address: str) -> None:
    web.page.goto(f"{web.base_url}/#/{address}")
    expect(web.page.get_by_role("heading", level=1)).to_have_text(re.compile("There is no"))
    web.page.get_by_role("link", name="To all videos").click()
    expect(web.page.get_by_label("What the video shows")).to_be_visible()
    web.forget_failed_requests()


def test_an_address_with_another_place_goes_there(service: Service, web: Opened) -> None:
    web.watch(service.wait_for_success(service.submit(**SHORT).id).id)
    web.wait_until_ended()
    web.page.evaluate("location.hash = `${location.hash.split('?')[0]}?t=1.5`")
    eventually(lambda: web.place() == pytest.approx(1.5, abs=0.1), "the place that the address names")
    assert web.page.evaluate("window.sources") == 1


def test_the_end_is_learnt_when_the_first_reads_after_it_fail(service: Service, web: Opened) -> None:
    job = service.submit(**SHORT)
    failed: list[str] = []

    def refuse(route: Route) -> None:
        if service.http.get(f"/jobs/{job.id}").json()["status"] == "succeeded" and len(failed) < 2:
            failed.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    web.page.route(f"**/jobs/{job.id}", refuse)
    web.watch(job.id)
    expect(web.page.locator(".heading .badge")).to_have_text("succeeded", timeout=60_000)
    assert len(failed) == 2
    web.forget_failed_requests()


def test_a_connection_that_says_nothing_is_given_up(service: Service, web: Opened) -> None:
    """No error tells of a network that swallows packets; the API is stopped as a process is by SIGSTOP."""
    job = service.submit(model="live", num_frames=480, fps=FPS)
    web.page.clock.install()
    web.watch(job.id)
    eventually(lambda: web.place() > 0, "the video to play")
    (api,) = [child for child in service.children() if child.name == "api"]
    processes = [psutil.Process(api.pid), *psutil.Process(api.pid).children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        web.page.clock.fast_forward(60_000)
        expect(web.page.locator(".outage")).to_be_visible()
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
    web.page.clock.fast_forward(60_000)
    expect(web.page.locator(".outage")).to_be_hidden()
    service.http.post(f"/jobs/{job.id}/cancel")
    web.forget_failed_requests()


def test_what_was_said_of_a_failure_goes_when_it_is_over(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(**SHORT).id)
    web.page.clock.install()
    web.page.route("**/chunks/*.mp4*", lambda route: route.abort())
    web.watch(job.id)
    for _ in range(6):
        web.page.clock.fast_forward(10_000)
        web.page.wait_for_timeout(200)
    expect(web.page.get_by_role("alert").filter(has_text="cannot be loaded")).to_be_visible()
    web.page.unroute("**/chunks/*.mp4*")
    web.page.clock.fast_forward(10_000)
    expect(web.page.get_by_role("alert").filter(has_text="cannot be loaded")).to_have_count(0)
    eventually(lambda: web.place() > 0, "the video to play")
    web.forget_failed_requests()


def drop_field(web: Opened) -> Locator:
    web.page.get_by_label("What the video shows").fill("red from a file")
    web.page.get_by_text("Picture or video to start from").click()
    return web.page.locator(".drop").first


@pytest.mark.parametrize(("name", "content"), [("notes.txt", b"text"), ("empty.png", b"")])
def test_a_file_that_is_refused_is_not_forgotten(
    service: Service, web: Opened, tmp_path: Path, name: str, content: bytes
) -> None:
    web.home()
    field = drop_field(web)
    (tmp_path / name).write_bytes(content)
    field.locator("input[type=file]").set_input_files(tmp_path / name)
    expect(field.locator(".field-error")).to_contain_text(f"{name} was not sent")
    before = len(service.http.get("/jobs").json()["jobs"])
    web.page.get_by_role("button", name="Make the video").click()
    expect(field.locator("input[type=text]")).to_be_focused()
    expect(field.locator(".field-error")).to_contain_text(f"{name} was not sent")
    assert len(service.http.get("/jobs").json()["jobs"]) == before
    field.get_by_role("button", name="Clear").click()
    expect(field.locator(".field-error")).to_be_hidden()
    web.forget_failed_requests()


def test_no_video_is_made_without_a_file_that_is_on_its_way(service: Service, web: Opened, tmp_path: Path) -> None:
    held: list[Route] = []
    web.page.route("**/uploads", lambda route: held.append(route))
    web.home()
    field = drop_field(web)
    picture = tmp_path / "first.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    field.locator("input[type=file]").set_input_files(picture)
    eventually(lambda: held, "the file to be announced")
    web.page.get_by_role("button", name="Make the video").click()
    expect(field.locator(".field-error")).to_contain_text("still being sent")
    web.page.unroute("**/uploads")
    field.get_by_role("button", name="Clear").click()
    field.locator("input[type=file]").set_input_files(picture)
    expect(field.locator("input[type=text]")).to_have_attribute("placeholder", "first.png")
    expect(field.locator(".field-error")).to_be_hidden()
    web.page.get_by_role("button", name="Make the video").click()
    expect(web.page.get_by_role("heading", level=1)).to_have_text("red from a file")
    (job,) = service.http.get("/jobs", params={"limit": 1}).json()["jobs"]
    assert job["request"]["image"].startswith("upl_")
    web.forget_failed_requests()


def test_a_file_that_misses_its_field_does_not_replace_the_page(web: Opened) -> None:
    web.home()
    prevented = web.page.evaluate("""() => {
      const carried = new DataTransfer()
      carried.items.add(new File(["x"], "x.png"))
      const dropped = new DragEvent("drop", {dataTransfer: carried, bubbles: true, cancelable: true})
      return !document.body.dispatchEvent(dropped)
    }""")
    assert prevented


def test_what_is_no_number_is_said_and_not_left_out(service: Service, web: Opened) -> None:
    web.home()
    web.page.get_by_label("What the video shows").fill("red nonsense")
    seed = web.page.get_by_label("Seed", exact=True)
    seed.press_sequentially("-e")
    expect(seed).to_have_accessible_description(re.compile("not a number"))
    before = len(service.http.get("/jobs").json()["jobs"])
    web.page.get_by_role("button", name="Make the video").click()
    expect(seed).to_be_focused()
    assert len(service.http.get("/jobs").json()["jobs"]) == before


def test_what_was_written_is_there_after_a_look_at_a_video(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(**SHORT, prompt="red between").id)
    web.home()
    web.page.get_by_label("What the video shows").fill("red draft")
    web.page.get_by_role("link").filter(has_text="red between").first.click()
    web.wait_for_video()
    web.page.go_back()
    expect(web.page.get_by_label("What the video shows")).to_have_value("red draft")
    assert job.id not in web.page.url
    web.page.get_by_role("button", name="Make the video").click()
    expect(web.page.get_by_role("heading", level=1)).to_have_text("red draft")
    web.page.go_back()
    web.page.get_by_role("button", name="Make the video").click()
    expect(web.page.get_by_role("heading", level=1)).to_have_text("red draft")
    found = [job for job in service.http.get("/jobs").json()["jobs"] if job["request"]["prompt"] == "red draft"]
    assert len(found) == 2, "asked for twice, made twice"


def test_the_form_is_there_as_soon_as_the_server_is(web: Opened) -> None:
    web.page.clock.install()
    web.page.route("**/models", lambda route: route.abort())
    web.home()
    expect(web.page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
    web.page.unroute("**/models")
    web.page.clock.fast_forward(6000)
    expect(web.page.get_by_role("combobox", name="Model")).to_have_value("live")
    expect(web.page.get_by_role("alert").filter(has_text="cannot be reached")).to_have_count(0)
    web.forget_failed_requests()


def test_the_priority_that_is_offered_is_the_jobs_own(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=4800, fps=FPS, priority="high")
    web.watch(job.id)
    form = web.page.locator("details.act").filter(has_text="Change the priority")
    form.locator("summary").click()
    level = form.get_by_label("Priority")
    expect(level).to_have_value("high")
    level.select_option("low")
    form.get_by_role("button", name="Change it").click()
    expect(form).not_to_have_attribute("open", "")
    expect(level).to_have_value("low")
    web.page.get_by_role("button", name="Stop and keep").dblclick()
    expect(web.page.locator(".heading .badge")).to_have_text("canceled", timeout=60_000)
    expect(web.page.locator(".steer > .field-error")).to_have_text("")


def test_a_deletion_can_be_undone_by_keyboard(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(**SHORT).id)
    web.watch(job.id)
    web.page.get_by_role("button", name="Delete").focus()
    web.page.keyboard.press("Enter")
    expect(web.page.get_by_role("button", name="Undo")).to_be_focused()
    web.page.keyboard.press("Enter")
    web.wait_for_video()
    assert job.id in web.page.url


def test_a_page_that_is_closed_deletes_what_it_was_told_to(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(**SHORT).id)
    web.watch(job.id)
    web.page.get_by_role("button", name="Delete").click()
    expect(web.page.get_by_role("button", name="Undo")).to_be_visible()
    web.page.goto("about:blank")
    eventually(lambda: service.http.get(f"/jobs/{job.id}").status_code == 404, "the job to be deleted")
