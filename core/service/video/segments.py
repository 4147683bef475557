"""Encodes frames to a chunk: an MP4 object that plays by itself and is an HLS segment by byte range. In memory.

A chunk is ftyp+moov+moof+mdat. The head (ftyp+moov) has the same bytes in every chunk of a job, and decode time
continues from chunk to chunk, so a playlist can use chunk 0's head as the init segment. FFmpeg's timescale is the
rate's numerator times a power of two, so a frame is an integer number of ticks at any rational rate.
Deterministic: one encoder thread, no timestamps of the clock in the file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import LongtakeError
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.video.boxes import iter_boxes

CONSTANT_RATE_FACTOR = 16
"""x264's CRF: visually lossless, even at hard edges of 64 x 64 frames, whose chunks take about 3 kB."""

# `cmaf` with `frag_discont` takes decode time from the first pts instead of starting every file at 0.
_MOV_FLAGS = "cmaf+frag_keyframe+empty_moov+default_base_moof+frag_discont"
# No B-frames, so the first pts of a chunk is its first frame's; one key frame, so each chunk decodes alone; one thread,
# since x264's output depends on their number.
_X264_PARAMS = (
    f"keyint={CHUNK_FRAMES}:min-keyint={CHUNK_FRAMES}:scenecut=0:bframes=0:threads=1:lookahead-threads=1"
    # x264's macroblock tree reads uninitialised memory past small frames: of 400 encodings of the same 32x32 frames 30
    # differed (48x48 sometimes), without it none. Costs 2 to 8 % of size.
    ":no-mbtree=1"
)
_MIN_SIDE_PIXELS = 16


class FramesNotEncodable(LongtakeError):
    """The frames cannot be stored as H.264 video."""

    code = "frames_not_encodable"


@dataclass(frozen=True)
class EncodedChunk:
    """`data` is the whole object, `data[:head_bytes]` its ftyp+moov."""

    data: bytes
    head_bytes: int


def encode_chunk(frames_THWC: FramesTHWC, fps: int | Fraction, index: int, first_frame: int) -> EncodedChunk:
    """Encode 1 to 16 frames, uint8 RGB [frames, height, width, 3], as chunk `index`, from frame `first_frame` on.

    Raises FramesNotEncodable for another type or shape, odd sides, or sides below 16 pixels.
    """
    _check(frames_THWC)
    buffer = io.BytesIO()
    options = {"movflags": _MOV_FLAGS, "fragment_index": str(index + 1)}
    with av.open(buffer, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=fps)
        _configure(stream, frames_THWC.shape[2], frames_THWC.shape[1], fps)
        for frame in _video_frames(frames_THWC, fps, first_frame):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return _without_trailer(buffer.getvalue())


def _check(frames_THWC: FramesTHWC) -> None:
    if frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3 or frames_THWC.dtype != np.uint8:
        raise FramesNotEncodable(f"Expected uint8 RGB frames THWC, got {frames_THWC.dtype} {frames_THWC.shape}.")
    count, height, width, _ = frames_THWC.shape
    if not 1 <= count <= CHUNK_FRAMES:
        raise FramesNotEncodable(f"A chunk has 1 to {CHUNK_FRAMES} frames, got {count}.")
    if height % 2 or width % 2 or min(height, width) < _MIN_SIDE_PIXELS:
        raise FramesNotEncodable(
            f"Frames of {width}x{height} pixels cannot be stored: both sides must be even and at least"
            f" {_MIN_SIDE_PIXELS}."
        )


def _configure(stream: VideoStream, width: int, height: int, fps: int | Fraction) -> None:
    codec: VideoCodecContext = stream.codec_context
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base = 1 / Fraction(fps)
    codec.thread_count = 1
    # Declared in the file, so that players do not guess from the size (guesses differ: red turns orange).
    codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
    codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    codec.options = {"crf": str(CONSTANT_RATE_FACTOR), "preset": "medium", "x264-params": _X264_PARAMS}


def _video_frames(frames_THWC: FramesTHWC, fps: int | Fraction, first_frame: int) -> Iterator[av.VideoFrame]:
    reformatter = VideoReformatter()  # one for all: a frame's own is made anew for each
    for offset, frame_HWC in enumerate(frames_THWC):
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.AREA,  # sharper filters ring at the hard edges of small pictures
            threads=1,  # sharing out so few pixels costs more than it saves
        )
        frame.pts, frame.time_base = first_frame + offset, 1 / Fraction(fps)
        yield frame


def _without_trailer(data: bytes) -> EncodedChunk:
    """Remove the index that FFmpeg appends (mfra): a segment ends with its mdat."""
    boxes = {box.type: box for box in iter_boxes(data)}
    assert list(boxes)[:4] == ["ftyp", "moov", "moof", "mdat"], list(boxes)
    return EncodedChunk(data[: boxes["mdat"].end], boxes["moov"].end)
