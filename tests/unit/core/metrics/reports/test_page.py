"""report.html as a parser sees it; tests/integration/test_evaluation_report.py opens it in a browser."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from core.metrics.evaluation.pictures import Pictures
from core.metrics.evaluation.results import Results
from core.metrics.reports.media import Media
from core.metrics.reports.page import Shown, page
from core.metrics.video.facts import FACTS
from tests.unit.core.metrics.reports.conftest import HOSTILE

SHOWN = Shown(Media("videos/001-a.mp4", "video/mp4"), Pictures(b"sheet", b"slice"))


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
    return Seen(page(results, FACTS, {}, [SHOWN, SHOWN]))


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
    assert kinds == {"data", "videos/001-a.mp4"}


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
    assert "Over time" in Seen(page(results, FACTS, {}, [SHOWN, SHOWN])).texts
    assert "Over time" not in Seen(page(alone, FACTS, {}, [SHOWN])).texts
