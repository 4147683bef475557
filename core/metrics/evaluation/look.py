"""Looks at a video file before it is measured: can it be read, how many frames does it have, how are they timed?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.metrics.evaluation.processes import Tell
from core.metrics.evaluation.results import FileFacts
from core.metrics.evaluation.store import Store, sha256_of
from core.metrics.video.frames import VideoFile
from core.service.video.decode import VideoUnreadable


@dataclass(frozen=True)
class Fault:
    """Why a video cannot be measured."""

    kind: Literal["unreadable", "one_frame", "changed", "failed"]
    text: str


@dataclass(frozen=True)
class Stamp:
    """A file as its folder knows it: while this is the same, so are its bytes."""

    inode: int
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Looked:
    """A file that can be measured."""

    facts: FileFacts
    stamp: Stamp


@dataclass(frozen=True)
class Look:
    """Reads each file once from beginning to end, unless the store knows its bytes."""

    store: Store

    def prepare(self) -> None:
        """Nothing to do."""

    def __call__(self, task: Path, tell: Tell) -> Looked | Fault:
        found = self._look(task)
        tell(1)
        if isinstance(found, Looked) and found.facts.num_frames == 1:
            return Fault("one_frame", "it has one frame only, and metrics of change need two")
        return found

    def _look(self, path: Path) -> Looked | Fault:
        try:
            stamp = stamp_of(path)
            if not stamp.size_bytes:
                return Fault("unreadable", "it is empty")
            sha256 = sha256_of(path)
            known = self.store.file_facts(sha256)
            found = known or _read(path, sha256)
            if stamp_of(path) != stamp:
                return Fault("changed", "it changed while it was looked at")
        except OSError as error:
            return Fault("unreadable", f"it cannot be read: {error.strerror}")
        except VideoUnreadable as error:
            return Fault("unreadable", text_of_unreadable(error))
        if known is None:
            self.store.keep_file_facts(found)
        return Looked(found, stamp)


def stamp_of(path: Path) -> Stamp:
    """Raises OSError."""
    found = path.stat()
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def text_of_unreadable(error: VideoUnreadable) -> str:
    """The error as what a list says of a file: "it has no frames"."""
    return re.sub(r"^The (video|file)\b", "it", error.message).rstrip(".")


def _read(path: Path, sha256: str) -> FileFacts:
    # An absolute path, as FFmpeg takes what stands before a colon for a protocol.
    with VideoFile(path.absolute()) as video:
        shapes = {frame.shape for frame in video}
        height, width, _ = shapes.pop()
        return FileFacts(
            sha256=sha256,
            size_bytes=path.stat().st_size,
            num_frames=video.num_frames,
            width=width,
            height=height,
            fps=video.fps,
            varies=video.varies,
            missing_frames=video.missing_frames,
        )
