"""Deinterlaces frames with FFmpeg's bwdif, which also reads the frames before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import av
from av.filter import Graph

Item = TypeVar("Item")


@dataclass(frozen=True)
class Neighbours(Generic[Item]):
    """An item of a sequence with the ones before and after it."""

    before: Item | None
    here: Item
    after: Item | None


def with_neighbours(shown: Iterator[Item]) -> Iterator[Neighbours[Item]]:
    """Each item with its neighbours. Reads one ahead."""
    before, here = None, next(shown, None)
    while here is not None:
        after = next(shown, None)
        yield Neighbours(before, here, after)
        before, here = here, after


def deinterlaced(before: av.VideoFrame | None, here: av.VideoFrame, after: av.VideoFrame | None) -> av.VideoFrame:
    """The frame `here` with all lines, at the time of its first field."""
    neighbours = (before, here, after)
    frames = [frame for frame in neighbours if frame is not None and _alike(frame, here)]
    graph = Graph()
    source = graph.add_buffer(width=here.width, height=here.height, format=here.format, time_base=here.time_base)
    graph.link_nodes(source, graph.add("bwdif", "send_frame:auto:all"), graph.add("buffersink")).configure()
    for frame in frames:
        graph.vpush(frame)
    graph.vpush(None)
    made = [graph.vpull() for _ in frames]
    return made[frames.index(here)]


def _alike(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    """Whether size and format are equal: they may change within a stream, and a filter cannot follow."""
    return (one.width, one.height, one.format.name) == (other.width, other.height, other.format.name)
