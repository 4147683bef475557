"""The user's folder of videos with captions.jsonl: reading and checking it, and decoding a clip's frames.

captions.jsonl has one line per clip, {"file": "walks/park.mp4", "caption": "a dog walks through a park"}; `file` is
relative to the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.error import FFmpegError

from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import LongtakeError, MediaError
from core.service.media.video import fitted_frame

CAPTIONS = "captions.jsonl"
SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
_MAX_NAMED = 20
"""File names in an error message; the rest are counted."""


class ClipsError(LongtakeError):
    """The folder cannot be used for training; the message names the files."""

    code = "clips_unusable"


class ClipUnusable(Exception):
    """A single clip is damaged or too short; the message says which of the two."""


@dataclass(frozen=True)
class Clip:
    """A video file and its caption."""

    name: str
    """Path relative to the folder, with forward slashes."""
    path: Path
    caption: str


def read_clips(folder: Path) -> list[Clip]:
    """All clips of a folder, ordered by name. Raises ClipsError if captions and videos do not match."""
    captions = _read_captions(folder / CAPTIONS)
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if _is_video(file)}
    faults = [
        _named("have no caption", sorted(found - set(captions))),
        _named(f"are in {CAPTIONS} but not in the folder", sorted(set(captions) - found)),
    ]
    if any(faults):
        raise ClipsError(
            f"{folder}: " + "; ".join(fault for fault in faults if fault),
            fix=f"write one line per video in {CAPTIONS}",
        )
    if not captions:
        raise ClipsError(f"{folder} contains no videos", fix=f"put videos ({', '.join(sorted(SUFFIXES))}) there")
    return [Clip(name, folder / name, captions[name]) for name in sorted(captions)]


def _is_video(file: Path) -> bool:
    """Judged by suffix. Hidden files are excluded: some systems create one next to every file."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _named(what: str, names: Sequence[str]) -> str:
    """ "2 have no caption: a.mp4, b.mp4"; "" without names."""
    if not names:
        return ""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{len(names)} {what}: {', '.join(names[:_MAX_NAMED])}{more}"


def _read_captions(file: Path) -> dict[str, str]:
    """Captions by file name."""
    if not file.is_file():
        raise ClipsError(
            f"{file} is missing", fix='write one line per video: {"file": "park.mp4", "caption": "a dog in a park"}'
        )
    captions: dict[str, str] = {}
    for number, line in enumerate(_text_of(file).splitlines(), start=1):
        if line.strip():
            name, caption = _caption_of(line, f"{file}, line {number}")
            if name in captions:
                raise ClipsError(f"{file}, line {number}: {name} already has a caption", fix="keep one of the lines")
            captions[name] = caption
    return captions


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClipsError(f"{file} is not UTF-8 text ({error.reason})", fix="save it as UTF-8") from error


def _caption_of(line: str, location: str) -> tuple[str, str]:
    try:
        entry: Any = json.loads(line)
    except ValueError as error:
        raise ClipsError(f"{location}: not JSON ({error})", fix="write one JSON object per line") from error
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    for key in ("file", "caption"):
        if not isinstance(fields.get(key), str) or not fields[key].strip():
            raise ClipsError(f'{location}: "{key}" is missing or empty', fix='write {"file": ..., "caption": ...}')
    return Path(fields["file"]).as_posix(), fields["caption"].strip()


def read_frames(path: Path, *, fps: float, height: int, width: int, least: int, most: int) -> FramesTHWC:
    """The first `most` frames of a video at `fps`, nearest in time, resized: uint8 [T, height, width, 3].

    Frames are cropped around the centre to the aspect ratio, shrunk by area averaging or enlarged bicubically. Raises
    ClipUnusable for fewer than `least` frames, or if decoding fails before `most` frames.
    """
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise ClipUnusable("no video stream")
            stream.thread_type = "AUTO"
            chosen = _at_rate(container.decode(stream), fps, most)
            frames = [fitted_frame(frame, stream, height, width) for frame in chosen]
    except FFmpegError as error:
        raise ClipUnusable(f"damaged: {error.strerror}") from error
    except ValueError as error:  # PyAV raises it for files too damaged to show a stream
        raise ClipUnusable(f"damaged: {error}") from error
    except MediaError as error:
        raise ClipUnusable(f"damaged: {error.message}") from error
    if len(frames) < least:
        raise ClipUnusable(f"too short: {len(frames)} frames at {fps:g} per second, {least} are needed")
    return np.stack(frames)


def _at_rate(decoded: Iterator[av.VideoFrame], fps: float, most: int) -> Iterator[av.VideoFrame]:
    """The frames nearest to times 1/fps apart, starting with the first; `decoded` is in display order."""
    before, count, step = next(decoded, None), 0, 1 / Fraction(fps).limit_denominator(1000)
    if before is None:
        return
    start = _seconds(before)
    for frame in decoded:
        while count < most and start + count * step <= _seconds(frame):
            time = start + count * step
            yield frame if _seconds(frame) - time < time - _seconds(before) else before
            count += 1
        before = frame
        if count >= most:
            return
    if count < most and start + count * step <= _seconds(before):
        yield before


def _seconds(frame: av.VideoFrame) -> Fraction:
    if frame.pts is None:
        raise ClipUnusable("damaged: a frame has no timestamp")
    return frame.pts * Fraction(frame.time_base or 1)
