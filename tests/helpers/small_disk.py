"""A disk that becomes full."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast


class SmallDisk:
    """A disk of the conversion (core.model.convert.disk) that becomes full after so many bytes; its files are real."""

    def __init__(self, capacity_bytes: int, *, free_bytes: int | None = None) -> None:
        """`free_bytes`: what it says is free, where that is not the truth (others write too)."""
        self._left = capacity_bytes
        self._says = free_bytes

    def free_bytes(self, folder: Path) -> int:
        del folder
        return self._left if self._says is None else self._says

    def create(self, path: Path) -> BinaryIO:
        return cast(BinaryIO, _CountedFile(path, self._take))

    def _take(self, count: int, path: Path) -> None:
        if count > self._left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self._left -= count


class _CountedFile(io.FileIO):
    """A new file whose every write asks first."""

    def __init__(self, path: Path, take: Callable[[int, Path], None]) -> None:
        super().__init__(path, "xb")
        self._path, self._take = path, take

    def write(self, data: Any, /) -> int:
        self._take(memoryview(data).nbytes, self._path)
        return super().write(data)
