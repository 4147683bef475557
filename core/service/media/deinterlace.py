"""Makes whole pictures of frames that hold two moments, line by line in turn, as DV and television cameras store them.

By FFmpeg's bwdif, which looks at the frames before and after. Knows no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import av
from av.filter import Graph

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Neighbours(Generic[Shown]):
    """What is shown now, before and after."""

    before: Shown | None
    here: Shown
    after: Shown | None


def with_neighbours(shown: Iterator[Shown]) -> Iterator[Neighbours[Shown]]:
    """Each of them with those beside it. Reads one ahead."""
    before, here = None, next(shown, None)
    while here is not None:
        after = next(shown, None)
        yield Neighbours(before, here, after)
        before, here = here, after


def deinterlaced(before: av.VideoFrame | None, here: av.VideoFrame, after: av.VideoFrame | None) -> av.VideoFrame:
    """The frame `here` as it was at the moment of its first field, all lines there."""
    neighbours = (before, here, after)
    shown = [frame for frame in neighbours if frame is not None and _alike(frame, here)]
    graph = Graph()
    source = graph.add_buffer(width=here.width, height=here.height, format=here.format, time_base=here.time_base)
    graph.link_nodes(source, graph.add("bwdif", "send_frame:auto:all"), graph.add("buffersink")).configure()
    for frame in shown:
        graph.vpush(frame)
    graph.vpush(None)
    made = [graph.vpull() for _ in shown]
    return made[shown.index(here)]


def _alike(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    """Of one size and format: streams may change these on the way, a filter takes them as they began."""
    return (one.width, one.height, one.format.name) == (other.width, other.height, other.format.name)
