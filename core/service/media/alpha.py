"""WebM transparency: a second VP8 or VP9 stream in the side data of each packet, whose luma is the opacity.

FFmpeg's native decoders ignore it; its libvpx wrapper reads it but has no size limit. So a second native decoder reads
the alpha stream. Source: WebM Container Guidelines, "Alpha".
"""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

AlphaHW = NDArray[np.uint8]
"""uint8 [height, width]: 0 is transparent, 255 opaque."""

_CODECS = frozenset({"vp8", "vp9"})
_SIDE_DATA = "matroska_block_additional"
_ID_LENGTH = 8
_ALPHA_ID = (1).to_bytes(_ID_LENGTH, "big")


def has_alpha_stream(stream: VideoStream) -> bool:
    """Whether a Matroska stream declares alpha (`AlphaMode`; RFC 9559, section 5.1.4.1.28.4)."""
    return stream.codec_context.name in _CODECS and stream.metadata.get("alpha_mode") == "1"


def frames_with_alpha(
    packets: Iterator[av.Packet[VideoStream]], stream: VideoStream, decoder_options: dict[str, str]
) -> Iterator[tuple[av.VideoFrame, AlphaHW | None]]:
    """Decode `packets` to (frame, alpha); alpha is None until the first alpha frame."""
    decoder = _alpha_decoder(stream, decoder_options)
    alpha: AlphaHW | None = None
    for packet in packets:
        for frame in _alpha_frames(decoder, packet):
            alpha = _luma(frame)
        for frame in packet.decode():
            yield frame, alpha


def _alpha_decoder(stream: VideoStream, decoder_options: dict[str, str]) -> VideoCodecContext:
    decoder = av.CodecContext.create(stream.codec_context.name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.options = decoder_options
    decoder.thread_count = 1  # no delay: frames come with their packet, as the colour frames do
    return decoder


def _alpha_frames(decoder: VideoCodecContext, packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
    if not packet.has_sidedata(_SIDE_DATA):
        return []
    data = bytes(packet.get_sidedata(_SIDE_DATA))
    return decoder.decode(av.Packet(data[_ID_LENGTH:])) if data.startswith(_ALPHA_ID) else []


def _luma(frame: av.VideoFrame) -> AlphaHW:
    """The first plane, unconverted: a conversion would assume limited range."""
    plane = frame.planes[0]
    lines = np.frombuffer(bytes(plane), dtype=np.uint8).reshape(-1, plane.line_size)
    return lines[: frame.height, : frame.width]
