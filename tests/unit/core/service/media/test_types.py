"""Media are told apart by their first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.service.media.types import KIND_OF_TYPE, SNIFFED_BYTES, MediaKind, sniff, types_of
from tests.helpers.clips import clip, picture


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
def test_images_are_known(name: str) -> None:
    assert sniff(picture((1, 2, 3), format=name.upper())[:SNIFFED_BYTES]) == f"image/{name}"


@pytest.mark.parametrize(("suffix", "content_type"), [("mp4", "mp4"), ("mov", "quicktime"), ("webm", "webm")])
def test_videos_are_known(tmp_path: Path, suffix: str, content_type: str) -> None:
    assert sniff(clip(tmp_path / f"a.{suffix}", 2).read_bytes()[:SNIFFED_BYTES]) == f"video/{content_type}"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x89PNG",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1",
        b"ffconcat version 1.0\nfile /etc/hostname",
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg'>",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00",
        b"\x1a\x45\xdf\xa3\xa3\x42\x82\x88matroska",
    ],
)
def test_all_else_is_refused(head: bytes) -> None:
    assert sniff(head) is None


def test_every_type_has_a_kind() -> None:
    assert {*types_of(MediaKind.IMAGE), *types_of(MediaKind.VIDEO)} == set(KIND_OF_TYPE)
