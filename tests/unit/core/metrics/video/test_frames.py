"""Videos are read frame by frame, upright, with their facts; what cannot be read is named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.stream import VideoStream

from core.metrics.video.frames import VideoFile, resize_as_published
from core.service.domain.engine import FrameHWC
from core.service.video.decode import VideoUnreadable
from tests.helpers.clips import CODECS, clip, faststart, numbered_frame, numbers_of, picture, trimmed
from tests.helpers.moving import texture
from tests.helpers.video import frames_of


def timed_clip(path: Path, times: list[int], ticks: int = 1000) -> Path:
    """A video whose frames are shown at these times, in ticks of which a second has so many."""
    with av.open(str(path), "w", format="matroska" if path.suffix == ".mkv" else "mp4") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, ticks)
        stream.codec_context.options = {"bf": "0"}
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, ticks)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def read(source: Path | bytes) -> tuple[list[FrameHWC], VideoFile]:
    with VideoFile(source) as video:
        return list(video), video


def bilinear(frame: FrameHWC, size: int) -> FrameHWC:
    """Bilinear without antialiasing in float64: pixel centres at halves, edges continued, halves rounded to even."""

    def places(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, None)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, length - 1), at - low

    up, down, dy = places(frame.shape[0])
    left, right, dx = places(frame.shape[1])
    dy, dx, values = dy[:, None, None], dx[None, :, None], frame.astype(np.float64)
    above = values[up][:, left] * (1 - dx) + values[up][:, right] * dx
    below = values[down][:, left] * (1 - dx) + values[down][:, right] * dx
    return np.rint(above * (1 - dy) + below * dy).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(48, 64, 32), (30, 17, 64), (200, 40, 33), (7, 5, 20), (1, 1, 4), (64, 64, 720)]
)
def test_the_resize_is_bilinear_and_not_antialiased(height: int, width: int, size: int) -> None:
    frame = texture(height, width, smooth=1)
    resized = resize_as_published(frame, size)
    assert resized.shape == (size, size, 3)
    difference = np.abs(resized.astype(int) - bilinear(frame, size))
    # Values that float32 puts to the other side of a half.
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 3e-3


def test_a_frame_of_the_size_is_left_alone() -> None:
    frame = texture(40, 40)
    assert resize_as_published(frame, 40) is frame


@pytest.mark.parametrize("suffix", CODECS)
def test_frames_come_in_order_with_their_rate(tmp_path: Path, suffix: str) -> None:
    path = clip(tmp_path / f"video.{suffix}", 20, fps=24)
    frames, video = read(path)
    assert numbers_of(np.stack(frames)) == list(range(20))
    assert np.array_equal(np.stack(frames), frames_of(str(path)))
    assert (video.num_frames, video.varies, video.rotation) == (20, False, 0)
    assert video.fps == pytest.approx(24, rel=0.01)


def test_bytes_are_read_like_a_file(tmp_path: Path) -> None:
    path = clip(tmp_path / "video.mp4", 5)
    assert np.array_equal(np.stack(read(path)[0]), np.stack(read(path.read_bytes())[0]))


def test_the_count_goes_with_the_frames(tmp_path: Path) -> None:
    with VideoFile(clip(tmp_path / "video.mp4", 5)) as video:
        assert video.num_frames == 0
        assert [video.num_frames for _ in video] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, rotation: int) -> None:
    """`rotation` of the file: degrees counterclockwise, as FFmpeg counts."""
    frames, video = read(clip(tmp_path / "video.mp4", 2, rotation=rotation))
    assert video.rotation == 360 - rotation
    expected = np.rot90(numbered_frame(0), rotation // 90)
    assert frames[0].shape == expected.shape
    assert np.abs(frames[0].astype(int) - expected).mean() < 8


def test_an_angle_between_quarter_turns_is_rounded(tmp_path: Path) -> None:
    frames, video = read(clip(tmp_path / "video.mp4", 2, rotation=100))
    assert video.rotation == 270
    assert frames[0].shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("times", "varies"),
    [
        (list(range(0, 800, 40)), False),
        ([round(number * 1001 / 30) for number in range(30)], False),
        ([round(number * 1000 / 120) for number in range(60)], False),
        ([0, 40, 80, 160, 200, 240], True),
        ([0, 40, 80, 120, 126, 160, 200], True),
        ([0], False),
        ([0, 40], False),
    ],
)
def test_a_rate_that_varies_is_told_from_rounded_times(tmp_path: Path, times: list[int], varies: bool) -> None:
    frames, video = read(timed_clip(tmp_path / "video.mkv", times))
    assert video.varies is varies
    assert numbers_of(np.stack(frames)) == list(range(len(times)))


def test_a_frame_left_out_varies_though_the_clock_is_coarse(tmp_path: Path) -> None:
    assert read(timed_clip(tmp_path / "a.mp4", [0, 1, 2, 4, 5, 6], ticks=25))[1].varies
    assert not read(timed_clip(tmp_path / "b.mp4", [0, 1, 2, 3, 4, 5], ticks=25))[1].varies


def test_a_size_that_changes_is_named(tmp_path: Path) -> None:
    parts = []
    for height, width in ((48, 64), (64, 96)):
        path = tmp_path / f"{width}.ts"
        with av.open(str(path), "w", format="mpegts") as file:
            stream = file.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(3):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number, height, width), "rgb24")))
            file.mux(stream.encode(None))
        parts.append(path.read_bytes())
    with pytest.raises(VideoUnreadable, match="frame 3 is 96x64, those before are 64x48"):
        read(b"".join(parts))


def test_a_file_that_is_cut_off_tells_what_is_missing(tmp_path: Path) -> None:
    whole = faststart(clip(tmp_path / "video.mp4", 48, key_frame_every=1), tmp_path / "whole.mp4").read_bytes()
    frames, video = read(whole[: len(whole) * 2 // 3])
    assert 0 < len(frames) == video.num_frames < 48
    assert video.missing_frames == 48 - len(frames)


@pytest.mark.parametrize("share", [0.63, 0.7, 0.9])
def test_so_does_one_whose_frames_need_one_another(tmp_path: Path, share: float) -> None:
    whole = faststart(clip(tmp_path / "video.mp4", 48), tmp_path / "whole.mp4").read_bytes()
    frames, video = read(whole[: int(share * len(whole))])
    assert len(frames) + video.missing_frames == 48
    assert video.missing_frames > 0


@pytest.mark.parametrize("first", [5, 12, 20])
def test_frames_that_an_edit_list_hides_are_not_missing(tmp_path: Path, first: int) -> None:
    path = trimmed(clip(tmp_path / "video.mp4", 48), tmp_path / "trimmed.mp4", first)
    frames, video = read(path)
    assert numbers_of(np.stack(frames)) == list(range(first, 48))
    assert video.missing_frames == 0


def test_a_trimmed_file_that_is_cut_off_misses_what_it_would_show(tmp_path: Path) -> None:
    made = trimmed(clip(tmp_path / "video.mp4", 48, key_frame_every=6), tmp_path / "trimmed.mp4", 20)
    whole = faststart(made, tmp_path / "whole.mp4").read_bytes()
    shown = len(read(whole)[0])
    frames, video = read(whole[: int(0.8 * len(whole))])
    assert 0 < len(frames) < shown == len(frames) + video.missing_frames


@pytest.mark.parametrize("suffix", CODECS)
def test_a_whole_file_misses_nothing(tmp_path: Path, suffix: str) -> None:
    assert read(clip(tmp_path / f"video.{suffix}", 20))[1].missing_frames == 0


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0" * 4096])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "video.mp4").write_bytes(content)
    with pytest.raises(VideoUnreadable, match="The video cannot be read: "):
        read(tmp_path / "video.mp4")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "lost.mp4", tmp_path):
        with pytest.raises(VideoUnreadable, match="The video cannot be read: "):
            VideoFile(path)


def test_a_path_may_have_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip(tmp_path / "video.mp4", 3).rename(tmp_path / "a:b.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read(Path("a:b.mp4"))[0]) == 3


def test_a_second_reading_is_refused(tmp_path: Path) -> None:
    with VideoFile(clip(tmp_path / "video.mp4", 3)) as video:
        assert len(list(video)) == 3
        with pytest.raises(ValueError, match="read already"):
            next(iter(video))


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    cover = picture((200, 0, 0))
    with av.open(str(path), "w") as file:
        sound = file.add_stream("mp3", rate=44100)
        shown = file.add_stream("png", rate=1)
        assert isinstance(shown, VideoStream)
        shown.width, shown.height, shown.pix_fmt = 40, 20, "rgb24"
        shown.disposition = Disposition.attached_pic
        packet = av.Packet(cover)
        packet.stream = shown
        file.mux(packet)
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), "fltp", "mono")
        noise.sample_rate = 44100
        file.mux(sound.encode(noise))
        file.mux(sound.encode(None))
    with pytest.raises(VideoUnreadable, match="holds no video"):
        VideoFile(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 48000
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    with pytest.raises(VideoUnreadable, match="holds no video"):
        VideoFile(path)
