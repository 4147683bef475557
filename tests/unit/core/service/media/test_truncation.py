"""Truncated videos are recognised by the lengths that their parts declare. test_media_refused.py has FFmpeg's clips."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from core.service.domain.errors import Interrupted
from core.service.media.truncation import missing_end
from tests.helpers.clips import clip


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def missing(folder: Path, data: bytes) -> str | None:
    (folder / "given").write_bytes(data)
    return missing_end(folder / "given", lambda: None)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm"])
@pytest.mark.parametrize("rubbish", [b"", b"\0", b"\0" * 100, b"\xff\xff\xff\xffrubbish", b"TAG" + bytes(125)])
def test_what_stands_behind_the_end_is_no_cut(tmp_path: Path, suffix: str, rubbish: bytes) -> None:
    assert missing(tmp_path, clip(tmp_path / f"a.{suffix}", 4).read_bytes() + rubbish) is None


def test_long_and_open_boxes_are_understood(tmp_path: Path) -> None:
    index = box(b"ftyp", b"isom") + box(b"moov")
    long_box = struct.pack(">I4sQ", 1, b"mdat", 16 + 10)
    assert missing(tmp_path, index + long_box + bytes(10)) is None
    assert missing(tmp_path, index + struct.pack(">I4s", 0, b"mdat") + bytes(7)) is None
    assert missing(tmp_path, index + long_box + bytes(9)) == "it is cut off: it has 45 of at least 46 bytes"


def test_a_box_of_somebodys_own_is_passed_over(tmp_path: Path) -> None:
    own = box(b"Xtra", bytes(20))
    assert missing(tmp_path, box(b"ftyp", b"isom") + own + box(b"moov")) is None


def test_a_recording_that_was_never_finished_lacks_its_index(tmp_path: Path) -> None:
    assert "moov" in str(missing(tmp_path, box(b"ftyp", b"isom") + struct.pack(">I4s", 0, b"mdat") + bytes(99)))


@pytest.mark.parametrize("part", [box(b"free"), b"\xec\x80"])
def test_a_file_of_a_million_parts_can_be_given_up(tmp_path: Path, part: bytes) -> None:
    start = b"\x1a\x45\xdf\xa3\x80" if len(part) == 2 else box(b"ftyp", b"isom")
    (tmp_path / "given").write_bytes(start + part * 1_000_000)
    ticks = iter(range(1000))

    def stop() -> None:
        if next(ticks) == 999:
            raise Interrupted

    with pytest.raises(Interrupted):
        missing_end(tmp_path / "given", stop)
