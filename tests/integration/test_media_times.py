"""Rates and clocks of clips as people send them: a job begins with the frames that FFmpeg shows at its moments."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.helpers.ffmpeg import ffmpeg, made
from tests.helpers.media_kinds import H264, TOLERANCE, VP8, VP9, assert_alike, difference, read

FILM, NTSC = Fraction(24000, 1001), Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("rate", "fps"), [(FILM, FILM), (NTSC, FILM), (FILM, 12), (25, NTSC), (NTSC, NTSC)], ids=lambda rate: f"{rate}"
)
@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_rational_rates_of_clip_and_job(tmp_path: Path, suffix: str, rate: Fraction | int, fps: Fraction | int) -> None:
    codec = H264 if suffix == "mp4" else VP9
    path = made(tmp_path / f"a.{suffix}", *codec, rate=str(rate), num_frames=int(rate * 16 / fps) + 2)
    assert_alike(path, fps)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "mkv"])
def test_variable_rates_of_phones_and_screen_recorders(tmp_path: Path, suffix: str) -> None:
    codec = VP9 if suffix == "webm" else H264
    uneven = ("-vf", "select='not(eq(mod(n,7),3)+eq(mod(n,5),1))',setpts='PTS+0.3*sin(N)/30/TB'", "-vsync", "vfr")
    assert_alike(made(tmp_path / f"a.{suffix}", *uneven, *codec, rate="30", num_frames=60), fps=12)


def test_an_edit_list_hides_what_was_cut_away(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole.mp4", *H264, "-g", "12", "-bf", "2", rate="12", num_frames=48)
    path = tmp_path / "edited.mp4"
    ffmpeg("-ss", "1.4", "-i", str(whole), "-c", "copy", str(path))
    assert b"elst" in path.read_bytes()
    assert_alike(path, fps=12)


@pytest.mark.parametrize(
    ("name", "offset", "options"),
    [
        ("a.mp4", "-0.5", ("-avoid_negative_ts", "disabled")),
        ("a.mp4", "0", ("-movflags", "negative_cts_offsets", "-use_editlist", "0")),
        ("a.mkv", "5", ()),
        ("a.mp4", "5", ()),
    ],
    ids=["begins-before-zero", "negative-composition-offsets", "begins-late-mkv", "begins-late-mp4"],
)
def test_clips_that_do_not_begin_at_zero(tmp_path: Path, name: str, offset: str, options: tuple[str, ...]) -> None:
    whole = made(tmp_path / "whole.mkv", *H264, "-bf", "3", "-g", "6", rate="12", num_frames=40)
    ffmpeg("-itsoffset", offset, "-i", str(whole), "-c", "copy", *options, str(tmp_path / name))
    assert_alike(tmp_path / name)


@pytest.mark.parametrize(
    "options",
    [
        ("-c:v", "libx264", "-bf", "4", "-b_strategy", "0", "-g", "10"),
        ("-c:v", "libx264", "-x264-params", "open-gop=1:keyint=10:min-keyint=10:bframes=3"),
        ("-c:v", "libx265", "-x265-params", "log-level=error:open-gop=1:keyint=10:min-keyint=10:bframes=3"),
        ("-c:v", "libvpx-vp9", "-b:v", "200k", "-auto-alt-ref", "1", "-lag-in-frames", "16"),
        ("-c:v", "libvpx", "-b:v", "200k", "-auto-alt-ref", "1", "-lag-in-frames", "16"),
    ],
    ids=["b-frames", "open-gop-h264", "open-gop-hevc", "hidden-frames-vp9", "hidden-frames-vp8"],
)
def test_frames_that_lean_on_later_ones(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert_alike(made(tmp_path / "a.mkv", *options, rate="12", num_frames=48), fps=12)


def test_a_picture_that_changes_its_size_on_the_way_is_fitted_frame_by_frame(tmp_path: Path) -> None:
    """As video calls do when the line gets better."""
    small = made(tmp_path / "small.webm", "-vf", "scale=32:24", *VP8, num_frames=8)
    large = made(tmp_path / "large.webm", *VP8, num_frames=16)
    path = tmp_path / "both.webm"
    with av.open(str(path), "w") as out, av.open(str(small)) as first, av.open(str(large)) as second:
        stream = out.add_stream_from_template(first.streams.video[0])
        for start, part in ((0, first), (1000, second)):
            for packet in part.demux(video=0):
                if packet.pts is not None and packet.dts is not None:
                    packet.pts, packet.dts, packet.stream = packet.pts + start, packet.dts + start, stream
                    out.mux(packet)
    assert difference(read(path), read(large)) < TOLERANCE
