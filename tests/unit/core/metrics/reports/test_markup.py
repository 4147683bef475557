"""HTML as a tree: texts stay texts."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from core.metrics.reports.markup import document, element

HOSTILE = "</td><script>alert(1)</script>\"'&"


class Seen(HTMLParser):
    """What a parser finds: elements with their attributes, texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found = list[object]()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def test_text_and_attributes_cannot_become_markup() -> None:
    made = element("p", HOSTILE, title=HOSTILE)
    assert Seen(document(made)).found == ["\n", ("p", [("title", HOSTILE)]), HOSTILE, "\n"]


def test_attributes_of_python_become_those_of_html() -> None:
    made = element("video", class_="a", data_value=3, controls=True, muted=False, poster=None)
    assert document(made) == '<!DOCTYPE html>\n<video class="a" data-value="3" controls=""></video>\n'


def test_contents_stand_in_their_order_and_none_is_left_out() -> None:
    made = element("p", "one ", element("b", "two"), None, " three")
    assert document(made).splitlines()[1] == "<p>one <b>two</b> three</p>"


@pytest.mark.parametrize("text", ["\x00", "\x1b", "\udce9", "\u202e"])
def test_what_html_does_not_allow_or_nobody_sees_is_replaced(text: str) -> None:
    made = document(element("p", text, title=text))
    assert made.splitlines()[1] == '<p title="\ufffd">\ufffd</p>'
