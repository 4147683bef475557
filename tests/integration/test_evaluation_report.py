"""report.html in a real browser, opened as a file: it shows, plays and sorts, and asks for nothing beside itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from cli.main import main
from tests.helpers.axe import faults_of, rules_of_axe
from tests.helpers.browser import wait_until_ended
from tests.helpers.deadline import eventually
from tests.helpers.evaluated import pan
from tests.helpers.service import Service
from tests.helpers.web_page import opened

HOSTILE = '<img src=x onerror="document.title=\'taken\'"> & "words" </details>'
PROMPT = "</span><script>document.title = 'taken'</script>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, one of them in a file beside the report, with hostile names and prompts; one that is skipped."""
    folder = tmp_path_factory.mktemp("evaluation")
    clips = folder / "clips"
    pan(clips / "a.mp4", 24, speed=3)
    pan(clips / f"{HOSTILE.replace('/', '_')}.mp4", 24, speed=1, seed=1)
    pan(clips / "z.mp4", 24, speed=2, seed=2)
    (clips / "broken.mp4").write_bytes(HOSTILE.encode())
    (folder / "prompts.csv").write_text(f'file,prompt\na.mp4,"{PROMPT}"\nz.mp4,a red circle\n')
    sizes = sorted(file.stat().st_size for file in clips.iterdir())
    embed = str((sizes[-1] - 1) / 1e6)
    words = [str(clips), "--out", str(folder / "out"), "--size", "64", "--embed", embed]
    assert main(["evaluate", *words, "--prompts", str(folder / "prompts.csv")]) == 1
    assert len(list((folder / "out" / "videos").iterdir())) == 1
    return folder / "out" / "report.html"


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The report, in which nothing goes wrong and which asks for files only, or the test fails."""
    asked = list[str]()
    with opened(browser, "file:///", color_scheme=request.param) as web:
        web.page.on("request", lambda request: asked.append(request.url.partition(":")[0]))
        web.page.goto(report.as_uri())
        yield web.page
    assert set(asked) <= {"file", "data"}


def test_a_job_of_a_service_is_measured(service: Service, tmp_path: Path) -> None:
    job = service.submit(prompt="a red circle", num_frames=20)
    words = [str(job.id), "--url", str(service.http.base_url), "--out", str(tmp_path), "--size", "64"]
    assert main(["evaluate", *words]) == 0
    [video] = json.loads((tmp_path / "results.json").read_text())["videos"]
    assert (video["job_id"], video["variant"], video["prompt"]) == (job.id, "preview", "a red circle")
    assert video["file"]["num_frames"] == 20
    assert main(["evaluate", str(job.id), "job_nobody", *words[1:]]) == 1
    [problem] = json.loads((tmp_path / "results.json").read_text())["problems"]
    assert (problem["input"], problem["kind"]) == ("job_nobody", "job_failed")


def names(page: Page) -> list[str]:
    """Videos in the order of the table."""
    return [cell.partition(".mp4")[0] for cell in page.locator("table.videos tbody th a").all_inner_texts()]


def test_texts_stay_texts(page: Page) -> None:
    assert page.title() == "Longtake: evaluation"
    assert page.locator("img[src=x]").count() == 0
    assert PROMPT in page.locator("table.videos").inner_text()
    assert HOSTILE.replace("/", "_") in page.locator("table.videos").inner_text()
    assert page.locator("script").count() == 1


def test_no_other_script_would_run(browser: Browser, report: Path) -> None:
    with opened(browser, "file:///") as web:
        web.page.goto(report.as_uri())
        web.page.evaluate("""() => {
          const script = document.createElement('script')
          script.textContent = "document.title = 'taken'"
          document.body.append(script)
        }""")
        eventually(lambda: web.wrong, "the browser to refuse it")
        assert "Content Security Policy" in web.wrong.pop()
        assert web.page.title() == "Longtake: evaluation"


def test_a_table_is_sorted_by_its_heads(page: Page) -> None:
    assert names(page)[1:] == ["a", "z"]
    ofs = page.locator("table.videos thead").get_by_role("button", name="OFS", exact=True)
    ofs.click()
    assert names(page)[1:] == ["z", "a"]
    ofs.click()
    assert names(page)[:2] == ["a", "z"]
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("OFS")
    page.locator("table.videos thead").get_by_role("button", name="video", exact=True).press("Enter")
    assert names(page)[1:] == ["a", "z"]


def test_videos_play_from_within_the_page_and_from_beside_it(page: Page) -> None:
    sources = [source.get_attribute("src") or "" for source in page.locator("video source").all()]
    assert sorted({source.partition(":")[0][:7] for source in sources}) == ["data", "videos/"]
    for number in range(len(sources)):
        page.evaluate("n => document.querySelectorAll('video')[n].play()", number)
        eventually(
            lambda number=number: page.evaluate("n => document.querySelectorAll('video')[n].ended", number),
            "the video to end",
        )
    assert wait_until_ended(page).error is None


def test_a_video_that_plays_has_its_player_and_no_link(page: Page) -> None:
    assert page.locator("video:visible").count() == 3
    assert page.locator(".unplayable:visible").count() == 0


def test_a_file_that_does_not_play_is_offered_to_another_player(browser: Browser, tmp_path: Path) -> None:
    """Motion JPEG in AVI, which no browser plays; beside it a QuickTime file, which they do."""
    pan(tmp_path / "clips" / "a.mov", 8)
    pan(tmp_path / "clips" / "b.mov", 8, seed=1)
    for number, embed in enumerate(("3", "0")):
        with av.open(str(tmp_path / "clips" / "c.avi"), "w") as container:
            stream = container.add_stream("mjpeg", rate=12)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            for grey in range(8):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), "rgb24")))
            container.mux(stream.encode(None))
        out = tmp_path / str(number)
        assert main(["evaluate", str(tmp_path / "clips"), "--out", str(out), "--size", "64", "--embed", embed]) == 0
        with opened(browser, "file:///") as web:
            web.page.goto((out / "report.html").as_uri())
            eventually(lambda: web.page.locator(".unplayable:visible").count() == 1, "the link to be shown")
            assert web.page.locator("video:visible").count() == 2
            link = web.page.locator(".unplayable:visible a")
            assert (link.get_attribute("href") or "").startswith("data:video/" if embed == "3" else "file:///")
            assert link.get_attribute("download") == "c.avi"


def test_pictures_and_plots_are_there(page: Page) -> None:
    assert page.locator("svg.plot[role=img]").count() >= 3 * 5
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_link_opens_the_video_that_is_folded(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = false })")
    page.locator("table.videos tbody th a").nth(1).click()
    eventually(lambda: page.locator("details[open]").count() == 1, "the video to be opened")


def test_people_with_disabilities_can_read_it(page: Page, tmp_path: Path) -> None:
    assert faults_of(page, rules_of_axe(tmp_path)) == []


def test_without_a_script_everything_is_there(browser: Browser, report: Path) -> None:
    with opened(browser, "file:///", java_script_enabled=False) as web:
        web.page.goto(report.as_uri())
        assert web.page.locator("table.videos thead th").first.inner_text() == "video"
        assert web.page.locator("details[open] video").count() == 3


def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, report: Path) -> None:
    with opened(browser, "file:///", viewport={"width": 360, "height": 700}) as web:
        web.page.goto(report.as_uri())
        assert web.page.evaluate("document.documentElement.scrollWidth") <= 360
