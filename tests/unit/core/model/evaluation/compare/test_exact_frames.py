"""Stored videos: exact ones have every pixel, playable ones every frame."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from core.model.evaluation.compare.exact_frames import read_exact, write_exact, write_playable
from core.service.domain.engine import FramesTHWC
from core.service.video.decode import VideoUnreadable, decode_frames


def noise(num_frames: int, height: int = 32, width: int = 48) -> FramesTHWC:
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), np.uint8)


def in_parts(frames: FramesTHWC, *lengths: int) -> Iterator[FramesTHWC]:
    start = 0
    for length in lengths:
        yield frames[start : start + length]
        start += length


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
@pytest.mark.parametrize("fps", [8, Fraction(30000, 1001)])
def test_noise_is_stored_exactly(tmp_path: Path, size: tuple[int, int], fps: int | Fraction) -> None:
    frames = noise(41, *size)
    passed = list(write_exact(in_parts(frames, 16, 16, 9), fps, tmp_path / "video.mkv"))
    assert np.array_equal(np.concatenate(passed), frames)
    assert np.array_equal(np.stack(list(read_exact(tmp_path / "video.mkv"))), frames)


def test_parts_of_any_length_become_a_playable_video(tmp_path: Path) -> None:
    frames = np.full((41, 32, 48, 3), 90, np.uint8)
    assert write_playable(in_parts(frames, 1, 30, 10), 8, tmp_path / "video.mp4") == 41
    decoded = decode_frames(tmp_path / "video.mp4")
    assert decoded.shape == frames.shape
    assert abs(int(decoded.mean()) - 90) <= 2


def test_a_damaged_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "video.mkv").write_bytes(b"no video")
    with pytest.raises(VideoUnreadable, match=r"video\.mkv"):
        list(read_exact(tmp_path / "video.mkv"))
