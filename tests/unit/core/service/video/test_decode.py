"""Decoding of bytes and files, and errors for what is no video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.service.video.decode import VideoUnreadable, decode_frames
from core.service.video.segments import encode_chunk
from tests.helpers.pictures import numbered_frames, numbers_are_in_order


def test_bytes_and_files_give_the_same_frames(tmp_path: Path) -> None:
    data = encode_chunk(numbered_frames(5), 8, 0, 0).data
    (tmp_path / "chunk.mp4").write_bytes(data)

    frames_THWC = decode_frames(data)

    assert (frames_THWC.shape, frames_THWC.dtype) == ((5, 64, 64, 3), np.uint8)
    assert numbers_are_in_order(frames_THWC)
    assert np.array_equal(decode_frames(tmp_path / "chunk.mp4"), frames_THWC)


def test_a_picture_that_is_not_square_keeps_its_sides() -> None:
    frames_THWC = np.zeros((3, 32, 96, 3), np.uint8)

    assert decode_frames(encode_chunk(frames_THWC, 8, 0, 0).data).shape == (3, 32, 96, 3)


@pytest.mark.parametrize("data", [b"", b"not a video", b"\x00\x00\x00\x08free"])
def test_what_is_no_video_has_a_named_error(data: bytes) -> None:
    with pytest.raises(VideoUnreadable):
        decode_frames(data)


def test_a_head_alone_has_no_frames() -> None:
    chunk = encode_chunk(numbered_frames(2), 8, 0, 0)

    with pytest.raises(VideoUnreadable):
        decode_frames(chunk.data[: chunk.head_bytes])


def test_a_missing_file_has_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(VideoUnreadable, match="No such file"):
        decode_frames(tmp_path / "none.mp4")
