"""A video's last 16 frames at the job's rate; too short, too large or damaged ones are refused."""

from __future__ import annotations

import errno
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import MemoryError as MemoryOfFFmpeg
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import (
    Interrupted,
    MediaError,
    MediaTooLarge,
    MediaTypeRefused,
    MediaUnreadable,
    VideoTooShort,
)
from core.service.media.video import DecodeLimits, last_frames
from core.service.video.segments import encode_chunk
from tests.helpers.clips import clip, faststart, numbers_of

LIMITS = DecodeLimits(max_pixels=100_000, max_seconds=60.0, decode_seconds=30.0)


def read(path: Path, fps: int = 8, limits: DecodeLimits = LIMITS, height: int = 32, width: int = 32) -> FramesTHWC:
    return last_frames(path, fps=fps, height=height, width=width, limits=limits, tick=lambda: None)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm"])
def test_the_last_16_frames_of_each_format(tmp_path: Path, suffix: str) -> None:
    frames = read(clip(tmp_path / f"a.{suffix}", 40, fps=8))
    assert (frames.shape, frames.dtype) == ((16, 32, 32, 3), np.uint8)
    assert numbers_of(frames) == list(range(24, 40))


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
@pytest.mark.parametrize(
    ("fps", "expected"), [(24, list(range(44, 60))), (12, list(range(29, 60, 2))), (8, list(range(14, 60, 3)))]
)
def test_frames_are_resampled_in_time_from_the_end(tmp_path: Path, suffix: str, fps: int, expected: list[int]) -> None:
    assert numbers_of(read(clip(tmp_path / f"a.{suffix}", 60, fps=24), fps)) == expected


def test_a_slow_video_holds_each_frame(tmp_path: Path) -> None:
    numbers = numbers_of(read(clip(tmp_path / "a.mp4", 10, fps=4)))
    assert numbers[-1] == 9
    assert np.unique(numbers).tolist() == list(range(numbers[0], 10))
    assert len(set(numbers)) in {8, 9}


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_frames_before_the_first_key_frame_needed_are_not_decoded(tmp_path: Path, suffix: str) -> None:
    ticks = {"long": 0, "short": 0}
    for name, num_frames in (("long", 400), ("short", 40)):
        path = clip(tmp_path / f"{name}.{suffix}", num_frames, fps=8)

        def count(name: str = name) -> None:
            ticks[name] += 1

        last_frames(path, fps=8, height=32, width=32, limits=LIMITS, tick=count)
    assert ticks["long"] - ticks["short"] <= 360 + 15, "one more tick per packet, none more per frame decoded"


def test_recordings_of_browsers_without_length_or_index_are_read(tmp_path: Path) -> None:
    webm = clip(tmp_path / "a.webm", 60, live="1")
    mp4 = clip(tmp_path / "a.mp4", 60, movflags="frag_keyframe+empty_moov+default_base_moof")
    assert numbers_of(read(webm)) == numbers_of(read(mp4)) == list(range(14, 60, 3))


def test_one_key_frame_for_all_is_enough(tmp_path: Path) -> None:
    assert numbers_of(read(clip(tmp_path / "a.mp4", 60, fps=8, key_frame_every=250))) == list(range(44, 60))


@pytest.mark.parametrize(("num_frames", "source_fps", "found"), [(15, 8, 15), (1, 8, 1), (44, 24, 15)])
def test_too_short_a_video_says_how_many_frames_it_has(
    tmp_path: Path, num_frames: int, source_fps: int, found: int
) -> None:
    path = clip(tmp_path / "a.mp4", num_frames, fps=source_fps)
    with pytest.raises(VideoTooShort, match=f"has {found} frames at 8 frames per second; 16 are needed"):
        read(path)


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_exactly_16_frames_are_enough(tmp_path: Path, suffix: str) -> None:
    assert numbers_of(read(clip(tmp_path / f"a.{suffix}", 16, fps=8))) == list(range(16))
    assert len(read(clip(tmp_path / f"b.{suffix}", 46, fps=24))) == 16


@pytest.mark.parametrize(("rotation", "corner"), [(90, "lower left"), (180, "lower right"), (-90, "upper right")])
def test_rotation_of_the_file_is_applied(tmp_path: Path, rotation: int, corner: str) -> None:
    """`rotation` is counterclockwise, and each frame has its white block in the upper left corner."""
    frame = read(clip(tmp_path / "a.mp4", 16, fps=8, rotation=rotation), height=64, width=48)[-1]
    rows = slice(0, 8) if "upper" in corner else slice(-8, None)
    columns = slice(0, 8) if "left" in corner else slice(-8, None)
    if rotation == 180:
        frame = read(tmp_path / "a.mp4", height=48, width=64)[-1]
    assert frame[rows, columns].mean() > 235
    assert (frame > 235).mean() < 0.15


def test_pixels_that_are_not_square_are_shown_as_meant(tmp_path: Path) -> None:
    wide = clip(tmp_path / "a.mp4", 16, fps=8, height=48, width=48, pixel_aspect=Fraction(2))
    white = (read(wide, height=48, width=96)[-1] > 235).all(axis=2)
    assert abs(int(white[2].sum()) - 24) <= 2, "the block is 12 of 48 stored columns, shown twice as wide"


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_large_frames_are_refused_by_the_header(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(MediaTooLarge, match="3000 are allowed"):
        read(clip(tmp_path / f"a.{suffix}", 16, fps=8), limits=DecodeLimits(3000, 60, 30))


def test_long_videos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaTooLarge, match=r"has 4\.9 s; 3 are allowed"):
        read(clip(tmp_path / "a.mp4", 40, fps=8), limits=DecodeLimits(100_000, 3, 30))


def test_more_frames_than_any_camera_makes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaTooLarge, match="more than 24 frames"):
        read(clip(tmp_path / "a.mp4", 40, fps=1000), limits=DecodeLimits(100_000, 0.1, 30))


def test_a_video_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(MediaTooLarge, match="to decode"):
        read(clip(tmp_path / "a.mp4", 40), limits=DecodeLimits(100_000, 60, 0.0))


def test_reading_can_be_interrupted(tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        last_frames(clip(tmp_path / "a.mp4", 40), fps=8, height=32, width=32, limits=LIMITS, tick=stop)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_video_that_is_cut_off_is_refused(tmp_path: Path, part: float) -> None:
    whole = faststart(clip(tmp_path / "a.mp4", 100), tmp_path / "b.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(MediaUnreadable):
        read(tmp_path / "cut.mp4")


def test_a_webm_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = clip(tmp_path / "a.webm", 120).read_bytes()
    (tmp_path / "cut.webm").write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(MediaUnreadable, match=r"cut off: it has \d+ of at least \d+ bytes"):
        read(tmp_path / "cut.webm")


@pytest.mark.parametrize("suffix", ["mp4", "matroska"])
def test_damaged_files_are_read_or_refused_by_name(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(3)
    whole = clip(tmp_path / f"a.{suffix}", 24, fps=8).read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        for position in rng.integers(12, len(whole), 4):
            damaged[position] = rng.integers(0, 256)
        (tmp_path / "damaged.mp4").write_bytes(damaged)
        with suppress(MediaError):
            assert read(tmp_path / "damaged.mp4").shape == (16, 32, 32, 3)


def test_a_playlist_in_disguise_opens_no_other_file(tmp_path: Path) -> None:
    clip(tmp_path / "secret.mp4", 40)
    (tmp_path / "given").write_text(f"ffconcat version 1.0\nfile {tmp_path}/secret.mp4\n")
    with pytest.raises(MediaUnreadable):
        read(tmp_path / "given")


def test_a_file_without_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux([*stream.encode(silence), *stream.encode(None)])
    with pytest.raises(MediaTypeRefused, match="sound but no picture"):
        read(path)


def test_colours_of_our_own_videos_come_back(tmp_path: Path) -> None:
    red = np.broadcast_to(np.array([220, 30, 40], np.uint8), (16, 64, 64, 3))
    (tmp_path / "a.mp4").write_bytes(encode_chunk(np.ascontiguousarray(red), 8, 0, 0).data)
    assert np.abs(read(tmp_path / "a.mp4").astype(int) - [220, 30, 40]).max() <= 4


@pytest.mark.parametrize(("lines", "matrix"), [(720, Colorspace.ITU709), (480, Colorspace.ITU601)])
def test_a_video_that_does_not_name_its_colours_is_taken_for_what_its_size_suggests(
    tmp_path: Path, lines: int, matrix: Colorspace
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, lines, "yuv420p"
        rgb = av.VideoFrame.from_ndarray(np.full((lines, 64, 3), (220, 30, 40), np.uint8), "rgb24")
        for pts in range(16):
            frame = rgb.reformat(format="yuv420p", dst_colorspace=matrix)
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.abs(read(path).astype(int) - [220, 30, 40]).max() <= 4


def test_memory_that_ffmpeg_does_not_get_makes_a_video_too_large_not_damaged(tmp_path: Path) -> None:
    ticks = iter(range(20))

    def out_of_memory() -> None:
        if next(ticks, None) is None:
            raise MemoryOfFFmpeg(errno.ENOMEM, "Cannot allocate memory")

    with pytest.raises(MediaTooLarge, match="memory"):
        last_frames(clip(tmp_path / "a.mp4", 40, fps=8), fps=8, height=32, width=32, limits=LIMITS, tick=out_of_memory)
