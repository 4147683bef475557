"""Reads the box structure of MP4 bytes: types, positions and sizes.

Source: ISO/IEC 14496-12, section 4.2 (size and type, then the payload; size 1 means a 64-bit size, 0 means to the end).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

HEADER_BYTES = 8
LARGE_HEADER_BYTES = 16


@dataclass(frozen=True)
class Box:
    """A box at bytes [start, end) of its file; its payload is [payload, end)."""

    type: str
    start: int
    payload: int
    end: int


class MalformedBoxes(ValueError):
    """The bytes are not a sequence of complete boxes."""


def iter_boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes in data[start:end], without their children. Raises MalformedBoxes if one does not fit."""
    stop = len(data) if end is None else end
    while start < stop:
        box = _box_at(data, start, stop)
        yield box
        start = box.end


def _box_at(data: bytes, start: int, stop: int) -> Box:
    size, header = int.from_bytes(data[start : start + 4], "big"), HEADER_BYTES
    if size == 1:
        size, header = int.from_bytes(data[start + 8 : start + 16], "big"), LARGE_HEADER_BYTES
    box_end = stop if size == 0 else start + size
    if stop - start < header or not start + header <= box_end <= stop:
        raise MalformedBoxes(f"no complete box at byte {start}")
    return Box(data[start + 4 : start + 8].decode("latin-1"), start, start + header, box_end)
