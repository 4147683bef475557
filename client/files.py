"""Local files of uploads and downloads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = 1 << 18
OnBytes = Callable[[int, int], None]
"""`on_bytes(done, total)`: called after each piece of an upload."""


def ignore_bytes(_done: int, _total: int) -> None:
    """An OnBytes that does nothing."""


def read_pieces(path: Path, size_bytes: int, on_bytes: OnBytes) -> Iterator[bytes]:
    """The first `size_bytes` of a file in pieces of PIECE_BYTES, so a file that grows meanwhile is not cut wrongly."""
    done_bytes = 0
    with path.open("rb") as file:
        while piece := file.read(min(PIECE_BYTES, size_bytes - done_bytes)):
            yield piece
            done_bytes += len(piece)
            on_bytes(done_bytes, size_bytes)


@contextmanager
def whole_file(path: Path) -> Generator[BinaryIO]:
    """A file to write that gets its name only if the block succeeds; otherwise nothing is left."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as sink:
            yield sink
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
