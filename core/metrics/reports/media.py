"""Where the report's videos are: small ones within the page, large ones as copies beside it."""

from __future__ import annotations

import base64
import mimetypes
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from core.metrics.evaluation.look import stamp_of
from core.metrics.evaluation.run import Video
from core.whole_files import remove_abandoned, unfinished

MOST_EMBEDDED_BYTES = 40 * 10**6
"""Of a page, for all videos within it: browsers become slow beyond that."""
VIDEOS_FOLDER = "videos"
_COPY = re.compile(r"[0-9a-f]{16}-[A-Za-z0-9._-]+")
"""The name of a copy: the beginning of its SHA-256, and the file's name in plain letters."""


@dataclass(frozen=True)
class Media:
    """A video as a page refers to it."""

    url: str
    """A data URL, or an address relative to the page."""
    file_name: str
    """In plain letters: as what it is saved."""


@dataclass(frozen=True)
class NoMedia:
    """A video that a page cannot have."""

    reason: str


def media_of(videos: Sequence[Video], folder: Path, embed_bytes: int) -> list[Media | NoMedia]:
    """Each video of at most `embed_bytes` within the page, as long as all fit into MOST_EMBEDDED_BYTES; the others are
    copied to `folder`/videos, unless they are there already. Copies of earlier reports are removed from there.

    A video that changed since it was measured, or cannot be read or copied, is not there.
    """
    beside = folder / VIDEOS_FOLDER
    media: list[Media | NoMedia] = []
    left = MOST_EMBEDDED_BYTES
    for video in videos:
        size = video.stamp.size_bytes
        is_embedded = size <= embed_bytes and _as_text(size) <= left
        try:
            if stamp_of(video.source.path) != video.stamp:
                media.append(NoMedia("The file changed after it was measured."))
                continue
            url = _embedded(video.source.path) if is_embedded else _beside(video, beside)
        except OSError as error:
            media.append(NoMedia(f"The file cannot be {'read' if is_embedded else 'copied'}: {error.strerror}."))
            continue
        left -= _as_text(size) if is_embedded else 0
        media.append(Media(url, _plain(video.source.path.name)))
    _remove_others(beside, videos, media)
    return media


def _as_text(size: int) -> int:
    """Characters of base64 for so many bytes."""
    return -(-size // 3) * 4


def _embedded(path: Path) -> str:
    return f"data:{_content_type(path)};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _beside(video: Video, folder: Path) -> str:
    """The relative address of the video, copied if need be."""
    path = video.source.path
    if path.resolve().parent == folder.resolve():
        return f"{VIDEOS_FOLDER}/{quote(os.fsencode(path.name))}"
    # Named by its bytes, so that an earlier report's address never shows another video.
    name = f"{video.file.sha256[:16]}-{_plain(path.name)}"
    copy = folder / name
    if not (copy.is_file() and copy.stat().st_size == video.stamp.size_bytes):
        with unfinished(copy) as part:
            shutil.copy2(path, part)
    return f"{VIDEOS_FOLDER}/{quote(name)}"


def _remove_others(folder: Path, videos: Sequence[Video], media: Sequence[Media | NoMedia]) -> None:
    """Copies that this report does not refer to. Other files, such as videos of jobs, stay."""
    if not folder.is_dir():
        return
    remove_abandoned(folder)
    kept = {each.url.rpartition("/")[2] for each in media if isinstance(each, Media)}
    measured = {video.source.path.resolve() for video in videos}
    for file in folder.iterdir():
        if _COPY.fullmatch(file.name) and file.name not in kept and file.resolve() not in measured:
            file.unlink(missing_ok=True)


def _plain(name: str) -> str:
    """Plain letters, as not every server takes others."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-80:]


def _content_type(path: Path) -> str:
    """Of a data URL. QuickTime files are taken for MP4, as which browsers play them."""
    guessed, _ = mimetypes.guess_type(path.name)
    is_known = guessed and guessed != "video/quicktime" and re.fullmatch(r"video/[a-z0-9.+-]+", guessed)
    return guessed if guessed and is_known else "video/mp4"
