"""A whole input video in storage: pieces of uncompressed frames, and an index with their checksums.

The job's record names the index; the pieces' keys derive from its key. Knows no lane and no storage.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from core.service.domain.engine import FrameHWC, FramesTHWC, pack, unpack
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.manifest import input_piece_key
from core.service.domain.schema import Stored

PIECES_IN_MEMORY = 2
_FIRST_FRAME = "first_frame"


class FrameIndex(Stored):
    """Describes the pieces: 16 frames each, except the last."""

    num_frames: int
    height: int
    width: int
    sha256: tuple[str, ...]
    """SHA-256 in hex of each piece."""


def write_pieces(frames: Iterable[FrameHWC], file_of: Callable[[int], Path]) -> FrameIndex:
    """Write frames in pieces, with one piece in memory. `file_of` returns the file for the number of a piece."""
    sums, num_frames, height, width = list[str](), 0, 0, 0
    for piece in _in_pieces(iter(frames)):
        data = pack({"frames": piece}, _FIRST_FRAME, num_frames)
        file_of(len(sums)).write_bytes(data)
        sums.append(hashlib.sha256(data).hexdigest())
        num_frames, (height, width) = num_frames + len(piece), piece.shape[1:3]
    return FrameIndex(num_frames=num_frames, height=height, width=width, sha256=tuple(sums))


def _in_pieces(frames: Iterator[FrameHWC]) -> Iterator[FramesTHWC]:
    while piece := list(islice(frames, CHUNK_FRAMES)):
        yield np.stack(piece)


class StoredFrames:
    """core.service.domain.engine.FrameReader over stored pieces: downloads a piece when a frame of it is read."""

    def __init__(self, index: FrameIndex, index_key: str, get: Callable[[str, str], bytes]) -> None:
        """`get(key, sha256)` returns a verified object; what it raises is passed on."""
        self._index = index
        self._index_key = index_key
        self._get = get
        self._pieces: OrderedDict[int, FramesTHWC] = OrderedDict()

    @property
    def num_frames(self) -> int:
        return self._index.num_frames

    @property
    def height(self) -> int:
        return self._index.height

    @property
    def width(self) -> int:
        return self._index.width

    def read(self, start: int, count: int) -> FramesTHWC:
        """Frames [start, start + count), uint8 THWC. Raises ValueError for frames that do not exist."""
        if not 0 <= start < start + count <= self.num_frames:
            raise ValueError(f"frames {start} to {start + count} of {self.num_frames}")
        first, last = start // CHUNK_FRAMES, (start + count - 1) // CHUNK_FRAMES
        frames = np.concatenate([self._piece(number) for number in range(first, last + 1)])
        return frames[start - first * CHUNK_FRAMES :][:count]

    def _piece(self, number: int) -> FramesTHWC:
        if number not in self._pieces:
            data = self._get(input_piece_key(self._index_key, number), self._index.sha256[number])
            self._pieces[number] = unpack(data, _FIRST_FRAME)[0]["frames"]
        self._pieces.move_to_end(number)
        if len(self._pieces) > PIECES_IN_MEMORY:
            self._pieces.popitem(last=False)
        return self._pieces[number]
