"""Converts decoded frames of any format to opaque 8-bit RGB in BT.709."""

from __future__ import annotations

import struct
from typing import cast

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation
from numpy.typing import NDArray

from core.service.domain.engine import FrameHWC
from core.service.domain.errors import MediaTypeRefused
from core.service.media.tone_mapping import DEFAULT_PEAK_NITS, MOST_NITS, Curve, Gamut, Mapping

_HD_LINES = 720
"""Without a declared colour matrix, frames of this height or more are BT.709, others BT.601, as players assume."""
_UNNAMED_MATRICES = frozenset({2, 3})
"""AVCOL_SPC_UNSPECIFIED, and AVCOL_SPC_RESERVED, which some encoders write instead."""
_MATRICES = frozenset({0, 1, 4, 5, 6, 7, 9})
"""Matrices of libswscale (ITU-T H.273, table 4); without constant luminance, YCgCo and ICtCp."""

_HDR_CURVES = {int(ColorTrc.SMPTE2084): Curve.PQ, int(ColorTrc.ARIB_STD_B67): Curve.HLG}
_WIDE_GAMUTS = {
    int(ColorPrimaries.BT2020): Gamut.BT2020,
    int(ColorPrimaries.SMPTE431): Gamut.DISPLAY_P3,
    int(ColorPrimaries.SMPTE432): Gamut.DISPLAY_P3,
}
_MOST_MAPPED_PIXELS = 1920 * 1080
"""Larger HDR frames are shrunk before tone mapping, the slow part: no preset has more pixels."""
_MASTERING = struct.Struct("=22i")
"""AVMasteringDisplayMetadata: x and y of red, green, blue and white, minimum and maximum luminance, each as two
integers (numerator, denominator); then two flags."""
_LIGHT_LEVEL = struct.Struct("=2I")
"""AVContentLightMetadata: MaxCLL and MaxFALL in cd/m2."""
_WHITE = 255


def hdr_curve(frame: av.VideoFrame) -> Curve | None:
    """PQ or HLG; None for SDR."""
    return _HDR_CURVES.get(frame.color_trc)


def rgb_of(frame: av.VideoFrame, alpha_HW: NDArray[np.uint8] | None = None) -> FrameHWC:
    """`frame` as uint8 RGB [height, width, 3], composited over white with its own alpha or `alpha_HW`.

    Raises MediaTypeRefused for an unsupported colour matrix.
    """
    mapping = _mapping(frame)
    has_alpha = any(component.is_alpha for component in frame.format.components)
    if mapping is None:
        layer = _pixels(frame, "rgba" if has_alpha else "rgb24")
    else:
        codes = _pixels(_shrunk(frame), "rgba64le" if has_alpha else "rgb48le").astype(np.uint16, copy=False)
        layer = mapping.applied(codes[..., :3])
        if has_alpha:
            layer = np.dstack((layer, (codes[..., 3] >> 8).astype(np.uint8)))
    layer = layer.astype(np.uint8, copy=False)
    if has_alpha:
        alpha_HW = layer[..., 3]
    return layer if alpha_HW is None else _over_white(layer[..., :3], alpha_HW)


def _pixels(frame: av.VideoFrame, pixel_format: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    # One thread: FFmpeg would otherwise start some for each frame, which live until the frame is collected.
    array = frame.to_ndarray(format=pixel_format, src_colorspace=_matrix(frame), threads=1)
    return cast("NDArray[np.uint8]", array)


def _matrix(frame: av.VideoFrame) -> Colorspace | None:
    """Source colour matrix; None if the frame declares it."""
    if frame.colorspace in _MATRICES:
        return None
    if frame.colorspace not in _UNNAMED_MATRICES:
        message = f"the video has an unsupported colour matrix ({frame.colorspace} of H.273)"
        raise MediaTypeRefused(message, fix="encode it with the matrix of BT.709 or BT.2020 (non-constant luminance)")
    if hdr_curve(frame):
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601


def _mapping(frame: av.VideoFrame) -> Mapping | None:
    """Tone mapping of the frame; None if it is SDR in BT.709. HDR without a declared gamut is BT.2020."""
    curve, gamut = hdr_curve(frame), _WIDE_GAMUTS.get(frame.color_primaries)
    if curve is None:
        return None if gamut is None else Mapping(Curve.SDR, gamut)
    named_709 = frame.color_primaries == int(ColorPrimaries.BT709)
    peak = _peak_nits(frame) if curve is Curve.PQ else DEFAULT_PEAK_NITS
    return Mapping(curve, gamut or (Gamut.BT709 if named_709 else Gamut.BT2020), peak)


def _peak_nits(frame: av.VideoFrame) -> float:
    """Peak luminance of the content or of the mastering display, in cd/m2, if declared."""
    level = _side_data(frame, "CONTENT_LIGHT_LEVEL")
    if len(level) >= _LIGHT_LEVEL.size and (greatest := _LIGHT_LEVEL.unpack_from(level)[0]):
        return min(float(greatest), MOST_NITS)
    mastering = _side_data(frame, "MASTERING_DISPLAY_METADATA")
    if len(mastering) >= _MASTERING.size:
        *_, numerator, denominator, _, is_known = _MASTERING.unpack_from(mastering)
        if is_known and numerator > 0 and denominator > 0:
            return min(numerator / denominator, MOST_NITS)
    return DEFAULT_PEAK_NITS


def _side_data(frame: av.VideoFrame, name: str) -> bytes:
    data = frame.side_data.get(name)
    return b"" if data is None else bytes(data)


def _shrunk(frame: av.VideoFrame) -> av.VideoFrame:
    by = 1
    while frame.width * frame.height > _MOST_MAPPED_PIXELS * by * by:
        by += 1
    if by == 1:
        return frame
    return frame.reformat(frame.width // by, frame.height // by, interpolation=Interpolation.AREA, threads=1)


def _over_white(rgb_HWC: NDArray[np.uint8], alpha_HW: NDArray[np.uint8]) -> FrameHWC:
    """Composite with straight (unassociated) alpha, as in WebM, ProRes and PNG."""
    opacity = alpha_HW[..., None].astype(np.uint16)
    mixed = rgb_HWC * opacity + _WHITE * (_WHITE - opacity)
    return ((mixed + _WHITE // 2) // _WHITE).astype(np.uint8)
