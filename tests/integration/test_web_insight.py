"""What the page shows beyond the video: its frames in two pictures, where the time went, and the whole service;
and where its focus goes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from core.service.domain.ports import PauseTarget
from core.service.redis.pauses import RedisPauses
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service
from tests.helpers.web_page import Opened, live_service

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
FPS = 8

_COLUMNS = """canvas => {
  const {width, height} = canvas
  const pen = new OffscreenCanvas(width, height).getContext('2d', {willReadFrequently: true})
  pen.drawImage(canvas, 0, 0)
  const {data} = pen.getImageData(0, 0, width, height)
  const red = (at) => (data[at + 3] ? data[at] : -1)
  const column = (x) => Array.from({length: height}, (_, y) => red(4 * (y * width + x))).join()
  return Array.from({length: width}, (_, x) => column(x))
}"""
"""The red of each column's pixels, -1 where nothing was drawn."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    write_fake_preset(folder / "presets", "asleep")  # no worker makes it
    with live_service(folder, steps=5, step_seconds=0.1) as service:
        yield service


def unfold(web: Opened, title: str) -> Locator:
    found = web.page.locator("details.act").filter(has_text=title)
    found.locator("summary").click()
    return found


def columns(pictures: Locator) -> list[str]:
    """Those of the slice that are drawn."""
    found: list[str] = pictures.locator("canvas.slice").evaluate(_COLUMNS)
    return [column for column in found if "-1" not in column]


def test_the_pictures_of_a_video_have_all_its_frames(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(model="live", num_frames=40, fps=FPS).id)
    web.watch(job.id)
    web.wait_until_ended()
    expect(web.page.locator(".legend").get_by_text("loaded")).to_be_visible()
    expect(web.page.locator(".legend").get_by_text("to come")).to_be_hidden()
    pictures = unfold(web, "Contact sheet and x-t slice")
    expect(pictures).to_contain_text("40 frames. Choose a picture to go there.")
    cells = pictures.get_by_role("button")
    expect(cells).to_have_count(20)
    drawn = columns(pictures)
    assert len(drawn) == 40
    assert len(set(drawn)) > 1, "what moves changes the slice"
    pictures.get_by_role("button", name="Go to 3.0 s").click()
    eventually(lambda: web.place() == pytest.approx(3, abs=0.2), "the video to be there")
    pictures.get_by_label("Row of the slice").fill("5")
    eventually(lambda: len(columns(pictures)) == 40 and columns(pictures) != drawn, "the slice of another row")


def test_the_pictures_grow_with_the_job_and_do_not_disturb_it(service: Service, web: Opened) -> None:
    web.watch(service.submit(model="live", num_frames=64, fps=FPS).id)
    eventually(lambda: web.place() > 0, "the video to play", seconds=60)
    pictures = unfold(web, "Contact sheet and x-t slice")
    expect(pictures.get_by_role("button").first).to_be_visible()
    before = len(columns(pictures))
    assert before < 64
    web.wait_until_ended()
    expect(pictures).to_contain_text("64 frames.", timeout=30_000)
    assert len(columns(pictures)) == 64
    web.check_frames(0, 64, FPS)


def test_it_says_where_the_time_went(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(model="live", num_frames=48, fps=FPS).id)
    chunks: list[dict[str, Any]] = service.http.get(f"/jobs/{job.id}/chunks").json()["chunks"]
    web.watch(job.id)
    timings = unfold(web, "Where the time went")
    expect(timings).to_contain_text("The mean of the newest 3 chunks.")
    expect(timings).to_contain_text("s of video were made a second")
    waited = sum(chunk["timings"]["queue"] for chunk in chunks) / len(chunks)
    expect(timings).to_contain_text(f"each waited {waited:.3f} s")
    expect(timings.get_by_role("rowheader", name="queue")).to_have_count(0)
    expect(timings.get_by_role("rowheader").last).to_have_text("commit")
    for phase in chunks[-1]["timings"].keys() - {"queue"}:
        mean = sum(chunk["timings"].get(phase, 0) for chunk in chunks) / len(chunks)
        row = timings.get_by_role("row").filter(
            has=web.page.get_by_role("rowheader", name=phase.replace("_", " "), exact=True)
        )
        expect(row.get_by_role("cell").first).to_have_text(f"{mean:.3f}")


def test_the_header_tells_what_waits_and_what_is_paused(service: Service, web: Opened) -> None:
    web.home()
    header = web.page.get_by_role("link", name="worker")
    expect(header).to_have_text("1 worker")
    job = service.submit(model="asleep", num_frames=16)
    expect(header).to_contain_text("1 queued", timeout=30_000)
    pauses, live = RedisPauses(service.redis()), PauseTarget(model="live")
    pauses.pause(live, datetime.now(UTC))
    try:
        expect(header).to_contain_text("live paused", timeout=30_000)
        header.click()
        expect(web.page.get_by_role("table", name="Paused")).to_contain_text("longtake resume --model live")
    finally:
        pauses.resume(live)
        service.http.delete(f"/jobs/{job.id}")
    expect(web.page.get_by_text("Nothing is paused.")).to_be_visible()


def test_operators_see_what_workers_make_and_what_waits(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=480, fps=FPS)
    waiting = service.submit(model="asleep", num_frames=16)
    web.page.goto(f"{web.base_url}/#/status")
    expect(web.page.get_by_role("heading", level=1)).to_have_text("The service")
    workers = web.page.get_by_role("table", name="Workers")
    expect(workers).to_contain_text("generate chunk")
    expect(workers).to_contain_text(job.id)
    queues = web.page.get_by_role("table", name="Queues")
    expect(queues.get_by_role("row").filter(has_text="asleep")).to_contain_text("nobody for generate")
    expect(web.page.get_by_role("table", name="Speed in the last minute")).to_contain_text("live", timeout=30_000)
    workers.get_by_role("link").focus()
    service.http.post(f"/jobs/{job.id}/cancel")
    expect(workers).not_to_contain_text(job.id, timeout=30_000)
    expect(web.page.get_by_role("region", name="Workers: table")).to_be_focused()
    service.http.delete(f"/jobs/{waiting.id}")
    expect(queues.get_by_role("row").filter(has_text="asleep")).to_have_count(0, timeout=30_000)


def test_a_job_that_no_worker_makes_says_so(service: Service, web: Opened) -> None:
    web.home()
    web.page.get_by_role("combobox", name="Model").select_option("asleep")
    web.page.get_by_label("What the video shows").fill("red asleep")
    expect(web.page.locator(".make .warnings")).to_contain_text("No worker makes asleep now")
    prompts = [{"start_frame": 0, "text": "red asleep"}, {"start_frame": 32, "text": "blue"}]
    body = {"model": "asleep", "num_frames": None, "prompts": prompts}
    job = service.http.post("/jobs", json=body).raise_for_status().json()
    tile = web.page.get_by_role("link").filter(has_text="red asleep")
    expect(tile).to_contain_text("2 prompts")
    assert tile.locator(".done").evaluate("bar => bar.offsetWidth") == 0
    web.watch(job["id"])
    expect(web.page.locator(".summary")).to_have_text("No worker makes asleep now; it waits until there is one.")
    web.page.get_by_role("button", name="Cancel", exact=True).click()
    expect(web.page.locator(".heading .badge")).to_have_text("canceled")
    expect(web.page.get_by_text("Make it longer")).to_be_hidden()
    expect(web.page.get_by_role("button", name="Try again")).to_be_visible()


def test_the_focus_stays_in_the_section_when_its_form_goes(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=480, fps=FPS)
    service.wait_for_chunks(job.id, 1)
    web.watch(job.id)
    form = unfold(web, "Change the prompt")
    form.get_by_label("From here on it shows").focus()
    service.http.post(f"/jobs/{job.id}/cancel").raise_for_status()
    expect(form).to_be_hidden(timeout=30_000)
    expect(web.page.locator(".steer")).to_be_focused()


def test_a_click_on_the_picture_gives_the_player_its_keys(service: Service, web: Opened) -> None:
    job = service.wait_for_success(service.submit(model="live", num_frames=64, fps=FPS).id)
    web.watch(job.id)
    eventually(lambda: web.place() > 0.5, "the video to play")
    stage = web.page.locator(".stage")
    stage.click()
    expect(web.page.locator(".player")).to_be_focused()
    expect(web.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    web.page.keyboard.press("l")
    eventually(lambda: web.place() > 5, "the video to be five seconds on")
    before = web.page.evaluate("scrollY")
    web.page.keyboard.press(" ")
    expect(web.page.get_by_role("button", name="Pause")).to_be_visible()
    assert web.page.evaluate("scrollY") == before
    web.page.keyboard.press("f")
    eventually(lambda: web.page.evaluate("document.fullscreenElement?.className") == "player", "the full screen")
    expect(web.page.get_by_role("slider", name="Place in the video")).to_be_in_viewport(ratio=1)
    expect(web.page.get_by_role("button", name="Full screen")).to_be_in_viewport(ratio=1)
    web.page.keyboard.press("f")
