"""The picture of deliveries: what each bar and mark stands for, and that it is a picture whatever the ids are."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

from cli.output.delivery_svg import LEFT, RIGHT, svg
from core.metrics.delivery.measure import JobDelivery, measure_job
from core.service.domain.schema import JobStatus
from tests.unit.core.metrics.delivery.logs import chunk, ended, job, queued, started

SVG = "{http://www.w3.org/2000/svg}"


def delivery(job_id: str = "job_x", *, buffer_seconds: float = 0.0) -> JobDelivery:
    """Queued for 2 s, a chunk at 4, 5 and 10 s: a stall from 8 to 10 s, and an end at 12 s."""
    chunks = [chunk(index, at) for index, at in enumerate((4.0, 5.0, 10.0))]
    return measure_job(job(id=job_id), [queued(), started(2.0), *chunks, ended(12.0)], (), buffer_seconds)


def elements(picture: str, name: str) -> list[ElementTree.Element]:
    """All of this name. Raises ParseError unless the picture is XML."""
    return [*ElementTree.fromstring(picture).iter(f"{SVG}{name}")]  # noqa: S314 - our own text


def bars(picture: str) -> list[tuple[str, float, float]]:
    """Kind, left edge and right edge of each, in seconds of a picture of 12 s."""
    rects = [rect for rect in elements(picture, "rect") if rect.find(f"{SVG}title") is not None]
    scale = (RIGHT - LEFT) / 12
    edges = [(rect, (float(rect.attrib["x"]) - LEFT) / scale) for rect in rects]
    return [(rect.attrib["class"], round(x, 1), round(x + float(rect.attrib["width"]) / scale, 1)) for rect, x in edges]


def test_bars_are_what_the_viewer_had() -> None:
    picture = svg([delivery()])
    expected = [("queued", 0, 2), ("first", 2, 4), ("playback", 4, 8), ("stall", 8, 10), ("playback", 10, 12)]
    assert bars(picture) == expected
    assert "stall: 2.00 s" in picture
    assert "1 stall, 2.0 s" in picture


def test_each_chunk_has_its_mark() -> None:
    lines = Counter(line.attrib["class"] for line in elements(svg([delivery()]), "line"))
    assert lines["chunk"] == 3 + 1  # and one in the legend


def test_a_buffer_is_drawn() -> None:
    assert ("buffer", 4.0, 6.0) in bars(svg([delivery(buffer_seconds=2.0)]))


def test_ids_are_text_and_a_job_without_a_chunk_has_a_row() -> None:
    waiting = measure_job(job(JobStatus.QUEUED, 0, id="a<b&c"), [queued()])
    texts = [text.text for text in elements(svg([delivery(), waiting]), "text")]
    assert {"1 job_x", "2 a<b&c", "no chunk"} <= set(texts)
    assert "0.0 s since queued" in svg([waiting])
