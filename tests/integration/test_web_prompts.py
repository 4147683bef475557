"""The form helps with prompts: words that the model knows, and several prompts with the time at which each begins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service
from tests.helpers.web_page import Opened

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
WORDS = ("a", "blue", "bouncing", "circle", "red", "square")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    write_fake_preset(folder / "presets", "worded", words=WORDS)
    write_fake_preset(folder / "presets", "any-word")
    write_fake_preset(folder / "presets", "editor", video="whole", control=("depth",), needs_input=True)
    with running_service(folder, folder / "presets", default_model="worded", media="proxy") as service:
        service.start_workers("worded")
        yield service


@pytest.fixture
def web(web: Opened) -> Opened:
    web.home()
    expect(web.page.get_by_role("combobox", name="Model")).to_have_value("worded")
    return web


def forget_refusals(web: Opened) -> None:
    """Browsers tell the console of each 4xx that a page is given."""
    web.wrong[:] = [text for text in web.wrong if "status of 422" not in text]


def prompt_of(web: Opened) -> Locator:
    return web.page.get_by_label("What the video shows")


def test_words_that_the_model_knows_are_proposed_while_a_prompt_is_written(web: Opened) -> None:
    prompt = prompt_of(web)
    proposed = web.page.get_by_role("group", name="Words that go on so").get_by_role("button")
    prompt.press_sequentially("A b")
    expect(proposed).to_have_text(["blue", "bouncing"])
    proposed.get_by_text("bouncing").click()
    expect(prompt).to_have_value("A bouncing ")
    expect(prompt).to_be_focused()
    expect(proposed).to_have_count(0)
    web.page.get_by_text("The 5 words that the model knows").click()
    web.page.get_by_role("button", name="square").click()
    expect(prompt).to_have_value("A bouncing square ")
    web.page.get_by_role("combobox", name="Model").select_option("any-word")
    expect(web.page.get_by_text("words that the model knows")).to_be_hidden()


def test_words_that_the_model_does_not_know_are_named(web: Opened) -> None:
    prompt_of(web).fill("a red submarine")
    expect(web.page.locator(".make .warnings")).to_contain_text("submarine")
    prompt_of(web).fill("a red circle")
    expect(web.page.locator(".make .warnings")).not_to_contain_text("submarine")


def test_several_prompts_begin_at_their_times(service: Service, web: Opened) -> None:
    prompt_of(web).fill("a red circle")
    web.page.get_by_label("Length", exact=True).fill("6")
    for number, (second, text) in enumerate((("2", "a blue circle"), ("4", "a red square")), 2):
        web.page.get_by_role("button", name="Then another prompt").click()
        expect(web.page.get_by_label(f"From second (prompt {number})")).to_be_focused()
        web.page.get_by_label(f"From second (prompt {number})").fill(second)
        web.page.get_by_label(f"Prompt {number}", exact=True).fill(text)
    web.page.get_by_role("button", name="Then another prompt").click()  # left empty: it is left out
    web.page.get_by_role("button", name="Make the video").click()
    expect(web.page.locator(".prompts li")).to_have_text(
        ["0.0 s a red circle", "2.0 s a blue circle", "4.0 s a red square"]
    )
    (job,) = (job for job in service.http.get("/jobs").json()["jobs"] if job["id"] in web.page.url)
    assert job["request"]["prompt_changes"] == [
        {"start_frame": 16, "text": "a blue circle"},
        {"start_frame": 32, "text": "a red square"},
    ]


def test_unknown_words_of_a_later_prompt_are_named_with_its_number(web: Opened) -> None:
    prompt_of(web).fill("a red circle")
    web.page.get_by_role("button", name="Then another prompt").click()
    web.page.get_by_label("From second (prompt 2)").fill("2")
    web.page.get_by_label("Prompt 2", exact=True).fill("a red submarine")
    expect(web.page.locator(".make .warnings")).to_contain_text("these words of prompt 2: submarine")


def test_what_is_wrong_with_a_later_prompt_is_said_at_it(web: Opened) -> None:
    prompt_of(web).fill("a red circle")
    web.page.get_by_label("Length", exact=True).fill("4")
    web.page.get_by_role("button", name="Then another prompt").click()
    start = web.page.get_by_label("From second (prompt 2)")
    start.fill("9")
    web.page.get_by_label("Prompt 2", exact=True).fill("a blue circle")
    expect(start).to_have_accessible_description(re.compile("the last begins at 31"))
    web.page.get_by_role("button", name="Make the video").click()
    expect(start).to_be_focused()
    web.page.get_by_role("button", name="Leave out prompt 2").click()
    expect(start).to_have_count(0)
    expect(web.page.get_by_text("4.0 s of video in 2 chunks.")).to_be_visible()
    forget_refusals(web)


def test_what_was_written_stays_for_another_model_and_after_a_reload(web: Opened, tmp_path: Path) -> None:
    model = web.page.get_by_role("combobox", name="Model")
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(bytes(100))
    prompt_of(web).fill("a red circle")
    web.page.get_by_text("More settings").click()
    web.page.get_by_label("Guidance").fill("3")
    web.page.get_by_label("Seed", exact=True).fill("7")
    web.page.get_by_text("Picture or video to start from").click()
    video = web.page.locator(".drop").filter(has_text="Video to continue")
    video.locator("input[type=file]").set_input_files(clip)
    expect(video.locator("input[type=text]")).to_have_attribute("placeholder", "clip.mp4")
    model.select_option("any-word")
    expect(web.page.get_by_label("Guidance")).to_have_value("3")
    model.select_option("worded")
    expect(web.page.get_by_label("Guidance")).to_have_value("3")
    expect(video.locator("input[type=text]")).to_have_attribute("placeholder", "clip.mp4")
    model.select_option("any-word")
    web.page.reload()
    expect(model).to_have_value("any-word")
    expect(prompt_of(web)).to_have_value("a red circle")
    expect(web.page.get_by_label("Seed", exact=True)).to_have_value("7")
    assert "red" not in web.page.url


def test_a_model_that_edits_and_follows_has_fields_for_it_and_nothing_is_asked_before_they_are_filled(
    web: Opened,
) -> None:
    asked = list[str]()
    web.page.on("request", lambda request: asked.append(request.post_data or "") if "dry_run" in request.url else None)
    web.page.get_by_role("combobox", name="Model").select_option("editor")
    prompt_of(web).fill("a red circle")
    expect(web.page.get_by_label("Video to edit", exact=True)).to_be_visible()
    follow = web.page.get_by_label("Follow", exact=True)
    expect(follow.locator("option")).to_have_text(["nothing", "depth"])
    follow.select_option("depth")
    web.page.wait_for_timeout(1000)
    assert asked == []
    web.page.get_by_label("Video to follow", exact=True).fill("https://example.org/follow.mp4")
    with web.page.expect_request(lambda request: "edit.mp4" in (request.post_data or "")) as whole:
        web.page.get_by_label("Video to edit", exact=True).fill("https://example.org/edit.mp4")
    body = json.loads(whole.value.post_data or "")
    assert body["control"] == {"type": "depth", "video": "https://example.org/follow.mp4"}
    assert body["video"] == "https://example.org/edit.mp4"
    forget_refusals(web)  # there is no such address
