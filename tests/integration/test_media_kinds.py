"""Clips as people send them, made by FFmpeg: the 16 frames that a job begins with are those that FFmpeg decodes.

One test for each kind of file; a difference of 2 grey levels in the mean is what two scalers and roundings may make.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import MediaError, MediaTooLarge, MediaTypeRefused, MediaUnreadable, VideoTooShort
from core.service.domain.media_types import SNIFFED_BYTES, sniff
from core.service.domain.schema import JobWarning
from core.service.media.image import decode_image
from core.service.media.video import DecodeLimits, last_frames
from tests.helpers.ffmpeg import decoded, ffmpeg, fitted, frame_with_number, last_of, made

LIMITS = DecodeLimits(max_pixels=100_000, max_seconds=60.0, decode_seconds=60.0)
HEIGHT, WIDTH = 32, 40
TOLERANCE = 2.0
"""Mean difference in grey levels."""
ADDITION = "matroska_block_additional"
LEAST_TELLING = 5.0
"""A wrong frame, turn or colour differs by more."""

H264 = ("-c:v", "libx264", "-crf", "4", "-pix_fmt", "yuv420p")
VP9 = ("-c:v", "libvpx-vp9", "-crf", "4", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "8")
VP8 = ("-c:v", "libvpx", "-crf", "4", "-b:v", "4M", "-deadline", "realtime", "-auto-alt-ref", "0", "-cpu-used", "8")
FRAGMENTED = ("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-g", "6")


def read(path: Path, fps: int | Fraction = 8, warnings: list[JobWarning] | None = None) -> FramesTHWC:
    """The frames that a job begins with."""
    heard = [] if warnings is None else warnings
    return last_frames(path, fps=fps, height=HEIGHT, width=WIDTH, limits=LIMITS, tick=lambda: None, warn=heard.append)


def refusal(path: Path) -> MediaError:
    with pytest.raises(MediaError) as caught:
        read(path)
    assert caught.value.fix
    return caught.value


def reference(path: Path, fps: int | Fraction = 8, filters: str = "null") -> FramesTHWC:
    """The same frames by FFmpeg."""
    times, frames = decoded(path, filters)
    return fitted(frames[last_of(times, fps)], HEIGHT, WIDTH)


def difference(one: FramesTHWC, other: FramesTHWC) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def assert_alike(path: Path, fps: int | Fraction = 8, filters: str = "null") -> None:
    ours, theirs = read(path, fps), reference(path, fps, filters)
    assert difference(ours, theirs) < TOLERANCE
    assert difference(np.roll(ours, 1, axis=0), theirs) > LEAST_TELLING, "the frames tell which one each is"


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


# HDR and other colours


def hdr_clip(path: Path, curve: str, *x265: str) -> Path:
    """Telling frames as light: 255 is 1,000 cd/m2."""
    filters = f"zscale=tin=bt709:pin=bt709:min=gbr:rin=pc:t={curve}:p=bt2020:m=bt2020nc:r=tv:npl=1000"
    parameters = ":".join(("log-level=error", "lossless=1", *x265))
    tags = ("-color_primaries", "bt2020", "-color_trc", curve, "-colorspace", "bt2020nc")
    encoder = ("-c:v", "libx265", "-x265-params", parameters, "-preset", "ultrafast")
    return made(path, "-vf", f"{filters},format=yuv444p10le", *encoder, *tags, num_frames=17)


def bt2390(light: NDArray[np.float64], peak_nits: float) -> NDArray[np.float64]:
    """Written down from ITU-R BT.2390 and BT.2100 for this test alone. Light and result in units of 203 cd/m2."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875

    def code(nits: NDArray[np.float64] | float) -> NDArray[np.float64]:
        power = np.asarray(nits / 10_000) ** m1
        return ((c1 + c2 * power) / (1 + c3 * power)) ** m2

    def nits(code: NDArray[np.float64]) -> NDArray[np.float64]:
        root = code ** (1 / m2)
        return 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)

    e1 = np.minimum(code(light * 203) / code(peak_nits), 1)
    most = code(203) / code(peak_nits)
    start = 1.5 * most - 0.5
    t = (e1 - start) / (1 - start)
    hermite = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * (1 - start) + (-2 * t**3 + 3 * t**2) * most
    return nits(np.where(e1 < start, e1, hermite) * code(peak_nits)) / 203


def sdr(light: NDArray[np.float64], peak_nits: float) -> NDArray[np.float64]:
    """Light in BT.709, in units of 203 cd/m2, as code values of 0 to 255 of a screen with gamma 2.4."""
    light = np.maximum(light, 0)
    largest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    return np.rint(255 * np.clip(light * bt2390(largest, peak_nits) / largest, 0, 1) ** (1 / 2.4))


@pytest.mark.parametrize(
    ("x265", "peak_nits"),
    [
        ((), 1000),
        (("max-cll=600,200",), 600),
        (("master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(40000000,50)",), 4000),
    ],
    ids=["says-no-peak", "content-light-level-600", "mastering-display-4000"],
)
def test_pq_is_tone_mapped_with_a_warning(tmp_path: Path, x265: tuple[str, ...], peak_nits: int) -> None:
    path = hdr_clip(tmp_path / "a.mp4", "smpte2084", *x265)
    linear = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,format=gbrpf32le"
    times, light = decoded(path, linear, "gbrpf32le")
    warnings = list[JobWarning]()
    ours = read(path, warnings=warnings)
    assert difference(ours, fitted(sdr(light[last_of(times, 8)].astype(float), peak_nits), HEIGHT, WIDTH)) < TOLERANCE
    assert [(warning.code, warning.field) for warning in warnings] == [("hdr_tone_mapped", "video")]
    assert "PQ" in warnings[0].message
    assert difference(ours, reference(path)) > LEAST_TELLING, "as it was, without mapping"


def test_hlg_is_tone_mapped_with_a_warning(tmp_path: Path) -> None:
    path = hdr_clip(tmp_path / "a.mov", "arib-std-b67")
    times, codes = decoded(path, "zscale=m=gbr:r=pc,format=gbrp16le", "gbrp16le")
    signal = codes[last_of(times, 8)].astype(float) / 65535
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    luminance = scene @ [0.2627, 0.6780, 0.0593]
    bt2020_to_bt709 = np.array(
        [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
    )
    light = 1000 / 203 * (scene * luminance[..., None] ** 0.2) @ bt2020_to_bt709.T
    warnings = list[JobWarning]()
    assert difference(read(path, warnings=warnings), fitted(sdr(light, 1000), HEIGHT, WIDTH)) < TOLERANCE
    assert [warning.code for warning in warnings] == ["hdr_tone_mapped"]
    assert "HLG" in warnings[0].message


def test_a_grey_of_hdr_stays_grey_and_white_stays_bright(tmp_path: Path) -> None:
    grey = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, None, :, None], (16, 48, 64, 3))
    path = tmp_path / "a.mp4"
    filters = (
        "zscale=tin=bt709:pin=bt709:min=gbr:rin=pc:t=smpte2084:p=bt2020:m=bt2020nc:r=tv:npl=203,format=yuv420p10le"
    )
    given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", "8", "-i", "-", "-vf", filters)
    tags = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
    ffmpeg(*given, "-c:v", "libx265", "-x265-params", "log-level=error", *tags, str(path), stdin=grey.tobytes())
    row = last_frames(path, fps=8, height=48, width=64, limits=LIMITS, tick=lambda: None)[-1, 24].astype(int)
    assert np.ptp(row, axis=1).max() <= 2
    assert (np.diff(row[:, 0]) >= -1).all()
    assert row[0].max() <= 2
    assert 220 <= row[-1].min() <= 245, "diffuse white leaves room for highlights"


def test_a_wide_gamut_without_hdr_keeps_its_colours_and_is_no_warning(tmp_path: Path) -> None:
    filters = "zscale=tin=bt709:pin=bt709:min=gbr:rin=pc:t=bt709:p=bt2020:m=bt2020nc:r=tv,format=yuv444p10le"
    tags = ("-color_primaries", "bt2020", "-color_trc", "bt2020-10", "-colorspace", "bt2020nc")
    encoder = ("-c:v", "libx265", "-x265-params", "log-level=error:lossless=1")
    path = made(tmp_path / "a.mp4", "-vf", filters, *encoder, *tags)
    warnings = list[JobWarning]()
    ours = read(path, warnings=warnings)
    assert difference(ours, reference(path, filters="zscale=t=bt709:p=bt709:m=gbr:r=pc,format=gbrp")) < TOLERANCE
    given = np.stack([frame_with_number(number) for number in range(8, 24)])
    assert difference(ours, fitted(given, HEIGHT, WIDTH)) < TOLERANCE
    assert warnings == []


@pytest.mark.parametrize(
    "options",
    [
        ("-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le"),
        ("-c:v", "libx264", "-pix_fmt", "yuvj420p", "-color_range", "pc"),
        ("-c:v", "libx264", "-pix_fmt", "yuv422p10le"),
        ("-c:v", "libx264", "-pix_fmt", "yuv444p"),
        (
            *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-pix_fmt", "yuv420p", "-colorspace", "bt709"),
            *("-color_primaries", "bt709", "-color_trc", "bt709", "-c:v", "libx264"),
        ),
        ("-c:v", "prores_ks", "-profile:v", "3", "-pix_fmt", "yuv422p10le"),
        ("-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj420p"),
    ],
    ids=["10-bit-hevc", "full-range", "10-bit-422", "444", "tagged-bt709", "prores-422", "mjpeg"],
)
def test_depth_range_and_matrix_of_ordinary_colours(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert_alike(made(tmp_path / "a.mov", *options))


def test_a_matrix_that_is_reserved_is_none_and_one_that_is_not_known_is_refused(plain: Path, tmp_path: Path) -> None:
    for name, matrix in (("reserved", 3), ("ictcp", 14)):
        retag = ("-bsf:v", f"h264_metadata=matrix_coefficients={matrix}")
        ffmpeg("-i", str(plain), "-c", "copy", *retag, str(tmp_path / f"{name}.mp4"))
    assert difference(read(tmp_path / "reserved.mp4"), read(plain)) == 0
    error = refusal(tmp_path / "ictcp.mp4")
    assert (error.code, "(14 of H.273)" in error.message) == (MediaTypeRefused.code, True)


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


# Time


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


# Files that cannot be used

CUT_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "mp4-index-behind": ("a.mp4", H264),
    "mp4-index-before": ("a.mp4", (*H264, "-movflags", "faststart")),
    "mp4-fragmented": ("a.mp4", (*H264, *FRAGMENTED)),
    "mov": ("a.mov", H264),
    "mov-index-before": ("a.mov", (*H264, "-movflags", "faststart")),
    "webm-vp8": ("a.webm", VP8),
    "webm-vp9": ("a.webm", VP9),
    "webm-live": ("a.webm", (*VP9, "-live", "1")),
    "mkv": ("a.mkv", H264),
    "mkv-live": ("a.mkv", (*H264, "-live", "1")),
}


@pytest.mark.parametrize(("name", "options"), CUT_FILES.values(), ids=CUT_FILES)
def test_truncated_videos_are_unreadable_and_named_as_truncated(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    whole = made(tmp_path / name, *options).read_bytes()
    read(tmp_path / name)
    for num_bytes in (len(whole) * 3 // 10, len(whole) * 6 // 10, len(whole) * 9 // 10, len(whole) - 3):
        (tmp_path / "cut").write_bytes(whole[:num_bytes])
        error = refusal(tmp_path / "cut")
        assert error.code == MediaUnreadable.code
        assert "cut off" in error.message, num_bytes


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_truncated_images_are_unreadable_and_named_as_truncated(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"a.{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240", "-frames:v", "1", str(whole))
    decode_image(whole, 100_000)
    for part in (0.1, 0.5, 0.9):
        (tmp_path / "cut").write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
        with pytest.raises(MediaUnreadable, match="cut off"):
            decode_image(tmp_path / "cut", 100_000)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm", "a.mkv"])
def test_sound_alone_is_refused_as_a_type(tmp_path: Path, name: str) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "libopus" if name == "a.webm" else "aac", str(tmp_path / name))
    error = refusal(tmp_path / name)
    assert (error.code, error.message) == (MediaTypeRefused.code, "the video has sound but no picture")


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
    Image.fromarray(frame_with_number(0)).save(tmp_path / "cover.jpg")
    cover = ("-i", str(tmp_path / "cover.jpg"), "-map", "0", "-map", "1", "-disposition:v:0", "attached_pic")
    ffmpeg("-f", "lavfi", "-i", "sine=d=3", *cover, "-c:v", "copy", "-c:a", "aac", str(tmp_path / "song.mp4"))
    assert refusal(tmp_path / "song.mp4").message == "the video has sound but no picture"


def test_an_encrypted_video_is_refused_as_such(plain: Path, tmp_path: Path) -> None:
    path, key = tmp_path / "drm.mp4", "76a6c65c5ea762046bd749a2e632ccbb"
    scheme = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key[::-1])
    ffmpeg("-i", str(plain), "-c", "copy", *scheme, str(path))
    error = refusal(path)
    assert (error.code, error.message) == (MediaTypeRefused.code, "the video is encrypted (DRM)")


def test_a_video_without_frames_is_unreadable(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mp4", *H264, *FRAGMENTED, num_frames=1)
    header = path.read_bytes()
    path.write_bytes(header[: header.index(b"moof") - 4])
    error = refusal(path)
    assert error.code == MediaUnreadable.code
    assert "has no frames" in error.message


def test_too_short_a_video_says_how_many_frames_it_has_at_a_rational_rate(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mp4", *H264, rate="24000/1001", num_frames=12)
    with pytest.raises(VideoTooShort, match=r"12 frames at 23\.976 frames per second; 16 are needed") as caught:
        read(path, Fraction(24000, 1001))
    assert str(caught.value.fix).startswith("give at least 0.667 s")


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
