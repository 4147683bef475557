"""Where the report's videos are: small ones within the page, large ones as copies beside it."""

from __future__ import annotations

import base64
import mimetypes
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

MOST_EMBEDDED_BYTES = 40 * 10**6
"""Of a page, for all videos within it: browsers become slow beyond that."""
VIDEOS_FOLDER = "videos"


@dataclass(frozen=True)
class Media:
    """A video as a page refers to it."""

    url: str
    """A data URL, or an address relative to the page."""
    content_type: str


def media_of(paths: Sequence[Path], folder: Path, embed_bytes: int) -> list[Media]:
    """Each video of at most `embed_bytes` within the page, as long as all fit into MOST_EMBEDDED_BYTES; the others are
    copied to `folder`/videos, unless they are there already."""
    media: list[Media] = []
    left = MOST_EMBEDDED_BYTES
    for number, path in enumerate(paths, start=1):
        size, content_type = path.stat().st_size, _content_type(path)
        if size <= embed_bytes and _as_text(size) <= left:
            left -= _as_text(size)
            data = base64.b64encode(path.read_bytes()).decode()
            media.append(Media(f"data:{content_type};base64,{data}", content_type))
        else:
            media.append(Media(_beside(path, folder / VIDEOS_FOLDER, number), content_type))
    return media


def _as_text(size: int) -> int:
    """Characters of base64 for so many bytes."""
    return -(-size // 3) * 4


def _beside(path: Path, folder: Path, number: int) -> str:
    """The relative address of the video, copied if need be."""
    if path.resolve().parent == folder.resolve():
        return f"{VIDEOS_FOLDER}/{quote(path.name)}"
    # Numbered, as videos of several folders can have one name; plain letters, as not every server takes others.
    name = f"{number:03d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', path.name)[-80:]}"
    copy = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if not (copy.is_file() and _same_file(path, copy)):
        shutil.copy2(path, copy)
    return f"{VIDEOS_FOLDER}/{quote(name)}"


def _same_file(path: Path, copy: Path) -> bool:
    """By size and time, which a copy keeps."""
    first, second = path.stat(), copy.stat()
    return (first.st_size, int(first.st_mtime)) == (second.st_size, int(second.st_mtime))


def _content_type(path: Path) -> str:
    guessed, _ = mimetypes.guess_type(path.name)
    return guessed if guessed and re.fullmatch(r"video/[a-z0-9.+-]+", guessed) else "video/mp4"
