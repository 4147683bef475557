"""Clips as people send them, made by FFmpeg: the 16 frames that a job begins with are those that FFmpeg decodes.

One test for each kind of file; a difference of 2 grey levels in the mean is what two scalers and roundings may make.
test_media_colours.py has colours, test_media_times.py rates and clocks, test_media_refused.py what cannot be used.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from core.service.domain.errors import MediaTooLarge, MediaTypeRefused, MediaUnreadable
from core.service.domain.media_types import SNIFFED_BYTES, sniff
from core.service.domain.schema import JobWarning
from core.service.media.image import decode_image
from core.service.media.video import DecodeLimits, last_frames
from tests.helpers.ffmpeg import decoded, ffmpeg, fitted, frame_with_number, last_of, made
from tests.helpers.media_kinds import (
    H264,
    HEIGHT,
    LEAST_TELLING,
    TOLERANCE,
    VP8,
    VP9,
    WIDTH,
    assert_alike,
    difference,
    read,
    reference,
    refusal,
)

ADDITION = "matroska_block_additional"


def remuxed(source: Path, target: Path, change: Callable[[VideoStream], None]) -> Path:
    """The same packets in another file, whose stream `change` may alter."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        change(stream)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return target


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip in H.264 to be stored in other ways. Do not change it."""
    return made(tmp_path_factory.mktemp("plain") / "plain.mp4", *H264)


# Orientation


@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "mirrored"])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_every_turn_and_mirror_of_the_display_matrix_is_applied(
    plain: Path, tmp_path: Path, suffix: str, turn: int, mirrored: bool
) -> None:
    def lay_down(stream: VideoStream) -> None:
        stream.set_display_rotation(turn, hflip=mirrored)

    turned = remuxed(plain, tmp_path / f"a.{suffix}", lay_down)
    assert_alike(turned)
    is_upright = not turn and not mirrored
    assert (difference(read(turned), read(plain)) < TOLERANCE) == is_upright


def test_an_odd_rotation_is_rounded_to_a_quarter_turn_with_a_warning(plain: Path, tmp_path: Path) -> None:
    def turn_by(degrees: int) -> Callable[[VideoStream], None]:
        return lambda stream: stream.set_display_rotation(degrees)

    warnings = list[JobWarning]()
    odd = read(remuxed(plain, tmp_path / "odd.mp4", turn_by(70)), warnings=warnings)
    assert difference(odd, read(remuxed(plain, tmp_path / "quarter.mp4", turn_by(90)))) == 0
    assert [(warning.code, warning.field) for warning in warnings] == [("rotation_rounded", "video")]


# Transparency


@pytest.mark.parametrize(
    ("name", "options", "decoder"),
    [
        ("vp8.webm", (*VP8, "-pix_fmt", "yuva420p"), ("-c:v", "libvpx")),
        ("vp9.webm", (*VP9, "-pix_fmt", "yuva420p"), ("-c:v", "libvpx-vp9")),
        ("vp9.mkv", (*VP9, "-pix_fmt", "yuva420p"), ("-c:v", "libvpx-vp9")),
        ("prores4444.mov", ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"), ()),
    ],
    ids=["vp8-webm", "vp9-webm", "vp9-mkv", "prores4444-mov"],
)
def test_transparent_parts_are_white(
    tmp_path: Path, name: str, options: tuple[str, ...], decoder: tuple[str, ...]
) -> None:
    path = made(tmp_path / name, *options, alpha=True)
    times, frames = decoded(path, pixel_format="rgba", decoder=decoder)
    layers = frames[last_of(times, 8)].astype(float)
    over_white = layers[..., :3] * layers[..., 3:] / 255 + 255 - layers[..., 3:]
    ours = read(path)
    assert difference(ours, fitted(np.rint(over_white), HEIGHT, WIDTH)) < TOLERANCE
    assert ours[:, :, 0].min() > 240, "the left is transparent"
    assert difference(ours, fitted(layers[..., :3], HEIGHT, WIDTH)) > LEAST_TELLING, "the hidden colour is another"


def with_side_data_of(colours: Path, opacity: Path, target: Path) -> Path:
    """The packets of one clip with the opacity of another's."""
    with av.open(str(opacity)) as given:
        extra = [bytes(packet.get_sidedata(ADDITION)) for packet in given.demux(video=0) if packet.size]
    whole = colours.read_bytes()
    with av.open(str(colours)) as given:
        own = [bytes(packet.get_sidedata(ADDITION)) for packet in given.demux(video=0) if packet.size]
    assert len(own[0]) >= len(extra[0]), "what takes its place must fit"
    padded = extra[0] + bytes(len(own[0]) - len(extra[0]))
    target.write_bytes(whole.replace(own[0][8:], padded[8:], 1))
    return target


def test_opacity_of_another_size_than_the_picture_is_unreadable(tmp_path: Path) -> None:
    options = ("-c:v", "libvpx", "-crf", "4", "-b:v", "4M", "-auto-alt-ref", "0", "-pix_fmt", "yuva420p", "-g", "100")
    colours = made(tmp_path / "colours.webm", *options, alpha=True)
    smaller = made(tmp_path / "small.webm", "-vf", "scale=16:16", *options, alpha=True)
    error = refusal(with_side_data_of(colours, smaller, tmp_path / "mixed.webm"))
    assert (error.code, "of another size" in error.message) == (MediaUnreadable.code, True)


def test_alpha_of_other_size_than_allowed_is_not_decoded(tmp_path: Path) -> None:
    path = made(tmp_path / "a.webm", *VP9, "-pix_fmt", "yuva420p", alpha=True)
    small = DecodeLimits(max_pixels=64 * 48 - 1, max_seconds=60, decode_seconds=60)
    with pytest.raises(MediaTooLarge):
        last_frames(path, fps=8, height=HEIGHT, width=WIDTH, limits=small, tick=lambda: None)


# Interlaced


@pytest.mark.parametrize(("first", "field"), [("top", "tff"), ("bottom", "bff")], ids=["top-first", "bottom-first"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_interlaced_clips_are_deinterlaced_with_a_warning(tmp_path: Path, suffix: str, first: str, field: str) -> None:
    # A bar that moves 4 pixels from field to field: 17 whole frames of two moments each.
    bar = np.full((34, 48, 64, 3), 40, np.uint8)
    for moment in range(34):
        bar[moment, :, (4 * moment) % 48 : (4 * moment) % 48 + 12] = 220
    given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", "16", "-i", "-")
    weave = ("-vf", f"tinterlace=interleave_{first},setfield={field},format=yuv420p")
    path = tmp_path / f"a.{suffix}"
    encoder = ("-c:v", "libx264", "-crf", "4", "-flags", "+ildct+ilme", "-x264-params", f"{field}=1")
    ffmpeg(*given, *weave, *encoder, str(path), stdin=bar.tobytes())
    warnings = list[JobWarning]()
    ours = read(path, warnings=warnings)
    assert difference(ours, reference(path, filters="bwdif=send_frame:auto:all")) < TOLERANCE
    assert [(warning.code, warning.field) for warning in warnings] == [("deinterlaced", "video")]
    assert difference(ours, reference(path)) > LEAST_TELLING, "as it was: with combs"


# Matroska


@pytest.mark.parametrize(
    "codec",
    [
        H264,
        ("-c:v", "libx265", "-x265-params", "log-level=error"),
        VP8,
        VP9,
        ("-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "10"),
        ("-c:v", "mpeg4", "-q:v", "2"),
    ],
    ids=["h264", "hevc", "vp8", "vp9", "av1", "mpeg4"],
)
def test_matroska_of_each_codec(tmp_path: Path, codec: tuple[str, ...]) -> None:
    path = made(tmp_path / "a.mkv", *codec)
    assert sniff(path.read_bytes()[:SNIFFED_BYTES]) == "video/matroska"
    assert_alike(path)


def test_what_chrome_records_is_matroska_under_the_name_of_webm(tmp_path: Path) -> None:
    """`video/x-matroska;codecs=avc1`: no length, no index, called .webm."""
    assert_alike(made(tmp_path / "recording.webm", *H264, "-f", "matroska", "-live", "1"))


def test_other_codecs_in_matroska_are_refused(tmp_path: Path) -> None:
    error = refusal(made(tmp_path / "a.mkv", "-c:v", "ffv1"))
    assert error.code == MediaTypeRefused.code
    assert "the codec ffv1 is not accepted" in error.message


# Images

_TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda seen: seen,
    2: np.fliplr,
    3: partial(np.rot90, k=2),
    4: np.flipud,
    5: lambda seen: seen.swapaxes(0, 1),
    6: partial(np.rot90, k=1),
    7: lambda seen: np.rot90(seen, 2).swapaxes(0, 1),
    8: partial(np.rot90, k=-1),
}
"""How what is seen was stored, for each orientation of EXIF (CIPA DC-008, tag 0x0112)."""


@pytest.mark.parametrize("orientation", _TURNS)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_of_exif_is_applied(tmp_path: Path, name: str, orientation: int) -> None:
    seen = frame_with_number(5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored, buffer = np.ascontiguousarray(_TURNS[orientation](seen)), io.BytesIO()
    Image.fromarray(stored).save(buffer, format=name, exif=exif, quality=98)
    (tmp_path / "given").write_bytes(buffer.getvalue())
    assert np.abs(decode_image(tmp_path / "given", 10_000).astype(int) - seen).mean() < TOLERANCE
