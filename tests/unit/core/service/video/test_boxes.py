"""The MP4 box reader on bytes made by hand."""

from __future__ import annotations

import pytest

from core.service.video.boxes import Box, MalformedBoxes, iter_boxes
from tests.helpers.boxes import find_box


def box(kind: str, payload: bytes = b"") -> bytes:
    return (8 + len(payload)).to_bytes(4, "big") + kind.encode() + payload


def test_boxes_side_by_side_are_listed_with_their_places() -> None:
    boxes = list(iter_boxes(box("ftyp", b"abcd") + box("moov")))

    assert boxes == [Box("ftyp", 0, 8, 12), Box("moov", 12, 20, 20)]


def test_a_path_leads_into_nested_boxes() -> None:
    data = box("ftyp") + box("moof", box("mfhd", b"1") + box("traf", box("tfdt", b"time")))

    found = find_box(data, "moof", "traf", "tfdt")

    assert data[found.payload : found.end] == b"time"


def test_a_size_of_one_announces_a_64_bit_size() -> None:
    data = (1).to_bytes(4, "big") + b"mdat" + (20).to_bytes(8, "big") + b"body" + box("free")

    assert [(found.type, found.payload, found.end) for found in iter_boxes(data)] == [
        ("mdat", 16, 20),
        ("free", 28, 28),
    ]


def test_a_size_of_zero_reaches_to_the_end() -> None:
    assert list(iter_boxes(bytes(4) + b"mdat" + b"body")) == [Box("mdat", 0, 8, 12)]


@pytest.mark.parametrize("data", [b"abc", box("mdat", b"body")[:-1], (7).to_bytes(4, "big") + b"free"])
def test_bytes_that_are_not_whole_boxes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedBoxes):
        list(iter_boxes(data))


def test_a_missing_box_is_named() -> None:
    with pytest.raises(MalformedBoxes, match="moof/traf"):
        find_box(box("moof", box("mfhd")), "moof", "traf")
