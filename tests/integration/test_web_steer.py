"""The page steers a job, and what it does afterwards: longer, branched, tried again, deleted, taken elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.helpers.deadline import eventually
from tests.helpers.service import Service
from tests.helpers.web_page import Opened, live_service

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
FPS = 8
LONG = {"model": "live", "num_frames": 480, "fps": FPS}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with live_service(tmp_path_factory.mktemp("service"), steps=5, step_seconds=0.1) as service:
        yield service


def act(web: Opened, title: str) -> Locator:
    """The form under this title, opened."""
    found = web.page.locator("details.act").filter(has_text=title)
    found.locator("summary").click()
    return found


def job_of(service: Service, job_id: str) -> dict[str, Any]:
    return service.http.get(f"/jobs/{job_id}").raise_for_status().json()


def stop(service: Service, web: Opened, job_id: str) -> None:
    web.page.get_by_role("button", name="Stop and keep").click()
    expect(web.page.locator(".heading .badge")).to_have_text("canceled", timeout=30_000)
    assert job_of(service, job_id)["status"] == "canceled"


def test_the_prompt_is_changed_on_the_way_and_the_job_is_stopped(service: Service, web: Opened) -> None:
    job = service.submit(**LONG)
    web.watch(job.id)
    eventually(lambda: web.place() > 0.5, "the video to play")
    form = act(web, "Change the prompt")
    form.get_by_label("From here on it shows").fill("a blue circle")
    form.get_by_role("button", name="Change it").click()
    expect(web.page.get_by_text("The new prompt acts from")).to_be_visible()
    expect(web.page.locator(".prompts li")).to_have_count(2)
    expect(web.page.locator(".prompts")).to_contain_text("a blue circle")
    assert web.page.evaluate("window.sources") == 1
    stop(service, web, job.id)
    assert job_of(service, job.id)["request"]["prompt_changes"][0]["text"] == "a blue circle"
    expect(web.page.get_by_role("link", name="Download MP4")).to_be_visible()


def test_a_prompt_is_changed_from_a_second_that_is_to_come(service: Service, web: Opened) -> None:
    job = service.submit(**LONG)
    web.watch(job.id)
    form = act(web, "Change the prompt")
    form.get_by_label("From here on it shows").fill("a blue circle")
    form.get_by_label("From second").fill("0")
    service.wait_for_chunks(job.id, 1)
    form.get_by_role("button", name="Change it").click()
    expect(form.get_by_label("From second")).to_have_accessible_description(re.compile("made or begun already"))
    form.get_by_label("From second").fill("56")
    form.get_by_role("button", name="Change it").click()
    expect(web.page.get_by_text("The new prompt acts from 56.0 s.")).to_be_visible()
    expect(web.page.locator(".prompts")).to_contain_text("56.0 s a blue circle")
    stop(service, web, job.id)
    assert job_of(service, job.id)["request"]["prompt_changes"] == [{"start_frame": 448, "text": "a blue circle"}]
    web.wrong[:] = [text for text in web.wrong if "status of 422" not in text]


def test_the_end_is_moved_and_taken_away_while_the_video_is_made(service: Service, web: Opened) -> None:
    job = service.submit(**LONG)
    web.watch(job.id)
    form = act(web, "Change the end")
    form.get_by_label("Without end").check()
    form.get_by_role("button", name="Change it").click()
    expect(web.page.get_by_text("The video goes on until it is stopped.")).to_be_visible()
    expect(web.page.locator(".controls .time")).to_contain_text("no end")
    assert job_of(service, job.id)["request"]["num_frames"] is None
    form = act(web, "Change the end")
    expect(form.get_by_label("Without end")).not_to_be_checked()
    form.get_by_label("Ends at second").fill("20")
    form.get_by_role("button", name="Change it").click()
    expect(web.page.get_by_text("The video ends at 20.0 s.")).to_be_visible()
    web.wait_until_ended()
    web.check_frames(0, 160, FPS)
    assert web.page.evaluate("window.sources") == 1
    expect(web.page.locator(".heading .badge")).to_have_text("succeeded", timeout=30_000)


def test_a_prompt_that_cannot_be_read_is_refused_at_its_field(service: Service, web: Opened) -> None:
    job = service.submit(**LONG)
    web.watch(job.id)
    form = act(web, "Change the prompt")
    form.get_by_label("From here on it shows").fill("red " * 40)
    form.get_by_role("button", name="Change it").click()
    expect(form.get_by_label("From here on it shows")).to_have_attribute("aria-invalid", "true")
    expect(form.get_by_label("From here on it shows")).to_be_focused()
    expect(form).to_contain_text("shorten it")
    stop(service, web, job.id)
    web.wrong[:] = [text for text in web.wrong if "status of 422" not in text]


def test_a_finished_video_is_made_longer_and_plays_on_without_beginning_again(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(model="live", num_frames=24, fps=FPS).id)
    web.watch(job.id)
    web.wait_until_ended()
    form = act(web, "Make it longer")
    form.get_by_label("Seconds more").fill("3")
    form.get_by_role("button", name="Add them").click()
    eventually(lambda: web.place() > 3.5, "the video to play on", seconds=60)
    web.wait_until_ended()
    web.check_frames(0, 48, FPS)
    assert web.page.evaluate("window.sources") == 1
    assert job_of(service, job.id)["progress"]["frames_done"] == 48


def test_a_branch_begins_at_the_playhead(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(model="live", num_frames=64, fps=FPS).id)
    web.watch(job.id)
    eventually(lambda: web.place() > 0, "the video to play")
    slider = web.page.get_by_role("slider", name="Place in the video")
    slider.focus()
    web.page.keyboard.press("k")
    web.page.keyboard.press("Home")
    for _ in range(2):
        web.page.keyboard.press("PageUp")
    form = act(web, "Branch from the playhead")
    expect(form).to_contain_text("From 4.0 s")
    form.get_by_label("What it shows from there on").fill("a blue circle")
    form.get_by_role("button", name="Make a branch").click()
    web.page.wait_for_url(re.compile(rf"#/jobs/(?!{job.id}).*t=3.0"))
    made = job_of(service, web.page.url.partition("#/jobs/")[2].partition("?")[0])
    assert made["branched_from"] == {"job_id": job.id, "from_chunk": 2}
    assert made["request"]["prompt_changes"] == [{"start_frame": 32, "text": "a blue circle"}]
    web.wait_for_video()
    web.wait_until_ended()
    web.page.get_by_role("link", name=job.id).click()
    web.page.wait_for_url(re.compile(rf"#/jobs/{job.id}"))


def test_a_branch_from_the_end_begins_at_the_end(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(model="live", num_frames=32, fps=FPS).id)
    web.watch(job.id)
    web.wait_until_ended()
    form = act(web, "Branch from the playhead")
    expect(form).to_contain_text("From 4.0 s")
    form.get_by_role("button", name="Make a branch").click()
    web.page.wait_for_url(re.compile(rf"#/jobs/(?!{job.id})"))
    made = job_of(service, web.page.url.partition("#/jobs/")[2].partition("?")[0])
    assert made["branched_from"]["from_chunk"] == 2
    assert made["request"]["num_frames"] == 64


def test_what_is_written_stays_when_the_job_ends_meanwhile(service: Service, web: Opened) -> None:
    job = service.submit(**LONG)
    service.wait_for_chunks(job.id, 1)
    web.watch(job.id)
    form = act(web, "Change the prompt")
    prompt = form.get_by_label("From here on it shows")
    prompt.fill("a blue circle")
    service.http.post(f"/jobs/{job.id}/cancel").raise_for_status()
    expect(form).to_contain_text("The job was canceled.", timeout=30_000)
    expect(prompt).to_have_value("a blue circle")
    expect(prompt).to_be_focused()
    expect(form.get_by_role("button", name="Change it")).to_be_hidden()
    form.get_by_role("button", name="Make it longer").click()
    expect(form).to_be_hidden()
    longer = web.page.locator("details.act").filter(has_text="Make it longer")
    expect(longer.get_by_label("What they show")).to_have_value("a blue circle")
    expect(longer.get_by_label("What they show")).to_be_focused()


def test_a_stopped_job_is_tried_again(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=96, fps=FPS)
    web.watch(job.id)
    stop(service, web, job.id)
    web.page.get_by_role("button", name="Go on", exact=True).click()
    expect(web.page.locator(".heading .badge")).to_have_text("succeeded", timeout=60_000)
    assert job_of(service, job.id)["progress"]["frames_done"] == 96


def test_a_deletion_is_taken_back_or_comes(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(model="live", num_frames=16, prompt="red deleted").id)
    web.watch(job.id)
    web.page.get_by_role("button", name="Delete", exact=True).click()
    web.page.get_by_role("button", name="Undo").click()
    expect(web.page.get_by_role("heading", level=1)).to_have_text("red deleted")
    web.page.get_by_role("button", name="Delete", exact=True).click()
    expect(web.page.get_by_role("link").filter(has_text="red deleted")).to_be_visible()
    assert service.http.get(f"/jobs/{job.id}").status_code == 200
    expect(web.page.get_by_role("link").filter(has_text="red deleted")).to_have_count(0, timeout=30_000)
    assert service.http.get(f"/jobs/{job.id}").status_code == 404


def test_the_file_and_the_requests_for_it_are_taken_elsewhere(service: Service, web: Opened) -> None:
    prompt = 'a red square, it\'s "true" & null'
    job = service.wait_for_success(service.submit(model="live", num_frames=32, seed=7, prompt=prompt).id)
    web.watch(job.id)
    with web.page.expect_download() as download:
        web.page.get_by_role("link", name="Download MP4").click()
    assert re.fullmatch(r"job_\w+\.mp4", download.value.suggested_filename)
    form = act(web, "Make the same elsewhere")
    made = list[dict[str, Any]]()
    for name, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
        form.get_by_role("button", name=name).click()
        text = form.locator("pre").inner_text()
        subprocess.run([*command, text], check=True, capture_output=True, timeout=60)
        made.append(service.http.get("/jobs").json()["jobs"][0])
    expected = json.loads(job.request.model_dump_json())
    assert [one["request"] for one in made] == [expected, expected]


def test_everything_is_reached_by_the_keyboard_alone(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(model="live", num_frames=32, prompt="red by keys").id)
    web.page.goto(f"{web.base_url}/#/")
    expect(web.page.get_by_role("link").filter(has_text="red by keys")).to_be_visible()
    web.page.keyboard.press("Tab")
    expect(web.page.get_by_role("link", name="To the content")).to_be_focused()
    web.page.keyboard.press("Enter")
    web.page.get_by_role("link").filter(has_text="red by keys").focus()
    web.page.keyboard.press("Enter")
    expect(web.page.get_by_role("heading", level=1)).to_be_focused()
    assert job.id in web.page.url
    reached = set[str]()
    for _ in range(30):
        web.page.keyboard.press("Tab")
        reached.add(web.page.evaluate("(e => e.ariaLabel || e.textContent.trim())(document.activeElement)"))
    assert reached >= {"Place in the video", "To the beginning", "Full screen", "Delete", "Copy link", "Make it longer"}
    assert {"Play", "Pause", "Play again"} & reached


_FOCUSED = "(e => e.labels?.[0]?.textContent || e.ariaLabel || e.textContent.trim())(document.activeElement)"


def tab_to(web: Opened, name: str) -> None:
    """Press Tab until the focus is on what has this name."""
    for _ in range(60):
        web.page.keyboard.press("Tab")
        if web.page.evaluate(_FOCUSED) == name:
            return
    raise AssertionError(f"nothing named {name!r} is reached by Tab")


def test_a_video_is_made_steered_and_stopped_by_the_keyboard_alone(web: Opened) -> None:
    keyboard = web.page.keyboard
    web.home()
    expect(web.page.get_by_role("combobox", name="Model")).to_have_value("live")
    tab_to(web, "What the video shows")
    keyboard.type("red by keys alone")
    tab_to(web, "Length")
    keyboard.type("60")
    tab_to(web, "Make the video")
    keyboard.press("Enter")
    expect(web.page.get_by_role("heading", level=1)).to_have_text("red by keys alone")
    web.wait_for_video()
    expect(web.page.get_by_text("Change the prompt")).to_be_visible()
    tab_to(web, "Change the prompt")
    keyboard.press("Enter")
    tab_to(web, "From here on it shows")
    keyboard.type("a blue circle")
    tab_to(web, "Change it")
    keyboard.press("Enter")
    expect(web.page.get_by_text("The new prompt acts from")).to_be_visible()
    eventually(lambda: web.place() > 0, "the video to play")
    tab_to(web, "Stop and keep what is made")
    keyboard.press("Enter")
    expect(web.page.locator(".heading .badge")).to_have_text("canceled", timeout=30_000)
    tab_to(web, "Branch from the playhead")
    keyboard.press("Enter")
    tab_to(web, "What it shows from there on")
    keyboard.type("red branch")
    before = web.page.url
    tab_to(web, "Make a branch")
    keyboard.press("Enter")
    expect(web.page.get_by_role("heading", level=1)).to_be_focused()
    expect(web.page.get_by_text("Branch of")).to_be_visible()
    assert web.page.url.partition("?")[0] != before.partition("?")[0]
    tab_to(web, "Delete")
    keyboard.press("Enter")
    expect(web.page.get_by_role("button", name="Undo")).to_be_focused()
    keyboard.press("Enter")
    expect(web.page.get_by_role("heading", level=1)).to_be_focused()
    tab_to(web, "Delete")
