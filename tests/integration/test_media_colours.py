"""Colours of clips as people send them: HDR is tone mapped, all else is what FFmpeg shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.service.domain.errors import MediaTypeRefused
from core.service.domain.schema import JobWarning
from core.service.media.video import last_frames
from tests.helpers.ffmpeg import decoded, ffmpeg, fitted, frame_with_number, last_of, made
from tests.helpers.media_kinds import (
    H264,
    HEIGHT,
    LEAST_TELLING,
    LIMITS,
    TOLERANCE,
    WIDTH,
    assert_alike,
    difference,
    read,
    reference,
    refusal,
)


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


def test_a_matrix_that_is_reserved_is_none_and_one_that_is_not_known_is_refused(tmp_path: Path) -> None:
    plain = made(tmp_path / "plain.mp4", *H264)
    for name, matrix in (("reserved", 3), ("ictcp", 14)):
        retag = ("-bsf:v", f"h264_metadata=matrix_coefficients={matrix}")
        ffmpeg("-i", str(plain), "-c", "copy", *retag, str(tmp_path / f"{name}.mp4"))
    assert difference(read(tmp_path / "reserved.mp4"), read(plain)) == 0
    error = refusal(tmp_path / "ictcp.mp4")
    assert (error.code, "(14 of H.273)" in error.message) == (MediaTypeRefused.code, True)
