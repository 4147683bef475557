"""report.html as a parser sees it; tests/integration/test_evaluation_report.py opens it in a browser."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from core.metrics.evaluation.cheap import CheapInstruments
from core.metrics.evaluation.pictures import Pictures
from core.metrics.evaluation.results import Results
from core.metrics.reports.media import Media, NoMedia
from core.metrics.reports.page import Illustrations, page
from tests.unit.core.metrics.reports.conftest import HOSTILE

SHOWN = Illustrations(Media("videos/0-a.mov", "a.mov"), Pictures(b"sheet", b"slice"))


class Seen(HTMLParser):
    """Elements with their attributes, and all texts outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements = list[tuple[str, dict[str, str | None]]]()
        self.texts = list[str]()
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in {"script", "style"}:
            self.texts.append(data)


@pytest.fixture
def seen(results: Results) -> Seen:
    return Seen(page(results, CheapInstruments(), [SHOWN, SHOWN]))


def test_hostile_texts_are_texts(seen: Seen) -> None:
    assert [attributes for tag, attributes in seen.elements if tag == "script"] == [{}]
    assert sum(HOSTILE in text for text in seen.texts) >= 8
    assert f"From frame 16: {HOSTILE} " in seen.texts


def test_nothing_is_asked_for_but_what_is_within_and_beside_the_page(seen: Seen) -> None:
    addresses = {
        attributes[name] or ""
        for _, attributes in seen.elements
        for name in ("src", "href", "poster", "action")
        if name in attributes
    }
    kinds = {address.partition(":")[0] for address in addresses if not address.startswith("#")}
    assert kinds == {"data", "videos/0-a.mov"}


def test_tables_have_heads_and_pictures_have_words(seen: Seen) -> None:
    heads = [attributes for tag, attributes in seen.elements if tag == "th"]
    assert heads
    assert all(attributes.get("scope") in {"row", "col"} for attributes in heads)
    pictures = [attributes for tag, attributes in seen.elements if tag in {"img", "svg"}]
    # A contact sheet, a slice and two curves of each video, and the mean of both curves.
    assert len(pictures) == 2 * 4 + 2
    assert all(attributes.get("alt") or attributes.get("aria-label") for attributes in pictures)


def test_a_single_video_has_no_curves_of_means(results: Results) -> None:
    alone = results.model_copy(update={"videos": results.videos[:1]})
    assert "Over time" in Seen(page(results, CheapInstruments(), [SHOWN, SHOWN])).texts
    assert "Over time" not in Seen(page(alone, CheapInstruments(), [SHOWN])).texts


def test_a_single_video_has_values_and_no_intervals(results: Results, seen: Seen) -> None:
    alone = Seen(page(results.model_copy(update={"videos": results.videos[:1]}), CheapInstruments(), [SHOWN])).texts
    assert {"Means", "mean", "95 % interval", "videos"} <= set(seen.texts)
    assert {"Values", "value", "2"} <= set(alone)
    assert not {"Means", "mean", "95 % interval", "videos"} & set(alone)
    assert any(text.startswith("1 video, 24 frames.") for text in alone)


def test_readers_are_told_what_the_values_come_from(seen: Seen) -> None:
    [flow] = [text for text in seen.texts if text.startswith("Motion and warp error come from")]
    assert "the optical flow dis of each video at 720x720 pixels" in flow
    assert "those of the StreamingT2V paper are of RAFT-large at 720x720" in flow
    assert any(text.startswith("OFS is how much moves: mean length of the flow") for text in seen.texts)
    assert any("from 5 videos on" in text for text in seen.texts)


def test_no_type_keeps_a_browser_from_a_video_and_a_link_is_there_if_it_does_not_play(seen: Seen) -> None:
    sources = [attributes for tag, attributes in seen.elements if tag == "source"]
    assert sources == [{"src": "videos/0-a.mov"}] * 2
    links = [attributes for tag, attributes in seen.elements if tag == "a" and "download" in attributes]
    assert [link["download"] for link in links] == ["a.mov", "a.mov"]


def test_a_video_that_is_gone_is_said(results: Results) -> None:
    gone = Illustrations(NoMedia("The file changed after it was measured."), Pictures(b"sheet", b"slice"))
    found = Seen(page(results, CheapInstruments(), [gone, SHOWN]))
    assert sum(tag == "video" for tag, _ in found.elements) == 1
    assert "The file changed after it was measured." in found.texts
