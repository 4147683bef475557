"""Finds a box of an MP4 by its path of types."""

from __future__ import annotations

from core.service.video.boxes import Box, MalformedBoxes, iter_boxes


def find_box(data: bytes, *path: str) -> Box:
    """The first box along a path of types, e.g. ("moof", "traf", "tfdt"). Raises MalformedBoxes where there is none."""
    start, end, found = 0, len(data), None
    for wanted in path:
        found = next((box for box in iter_boxes(data, start, end) if box.type == wanted), None)
        if found is None:
            raise MalformedBoxes(f"no box {'/'.join(path)}")
        start, end = found.payload, found.end
    assert found is not None, "a path has at least one type"
    return found
