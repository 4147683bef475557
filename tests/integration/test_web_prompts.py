"""The form helps with prompts: words that the model knows, and several prompts with the time at which each begins."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
    forget_refusals(web)  # of a prompt that has its time, and no text yet


def test_unknown_words_of_a_later_prompt_are_named_with_its_number(web: Opened) -> None:
    prompt_of(web).fill("a red circle")
    web.page.get_by_role("button", name="Then another prompt").click()
    web.page.get_by_label("From second (prompt 2)").fill("2")
    web.page.get_by_label("Prompt 2", exact=True).fill("a red submarine")
    expect(web.page.locator(".make .warnings")).to_contain_text("these words of prompt 2: submarine")
    forget_refusals(web)  # of a prompt that has its time, and no text yet


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
