"""Opens a video file safely: named demuxer, known codecs, limited size, one error class."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from core.service.domain.errors import MediaTooLarge, MediaTypeRefused, MediaUnreadable
from core.service.domain.media_types import MATROSKA, SNIFFED_BYTES, WEBM, sniff
from core.service.media.alpha import has_alpha_stream

_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9", "mpeg4", "mjpeg", "prores"}
)
"""Codecs of cameras, browsers and editors; FFmpeg has hundreds of others, many of them hardly tested."""


_MOST_STREAMS = 16


DECODER_THREADS = 2


_ATTACHED_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
"""Covers and chapter pictures, which FFmpeg presents as video streams."""


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of input videos. `decode_seconds` is CPU time of both passes together, in each of DECODER_THREADS."""

    max_pixels: int
    max_seconds: float
    decode_seconds: float


@contextmanager
def opened(path: Path, limits: DecodeLimits) -> Generator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first video stream; errors of FFmpeg become MediaErrors.

    The demuxer is fixed and may open nothing else: a playlist in disguise could otherwise read local files.
    """
    decoder_options = decoder_options_of(limits)
    try:
        with _open(path, decoder_options) as container:
            stream = _video_stream(container, limits)
            stream.codec_context.options = decoder_options
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = 1 if has_alpha_stream(stream) else DECODER_THREADS
            yield container, stream
    except MemoryError as error:  # FFmpeg's MemoryError is also an FFmpegError
        raise MediaTooLarge(
            "decoding the video needs more memory than it may take", fix="give a smaller one"
        ) from error
    except FFmpegError as error:
        raise unreadable(error.strerror or "FFmpeg cannot read it") from error


def decoder_options_of(limits: DecodeLimits) -> dict[str, str]:
    return {"max_pixels": str(limits.max_pixels)}


def _open(path: Path, decoder_options: dict[str, str]) -> InputContainer:
    options = {"protocol_whitelist": "file", "max_streams": str(_MOST_STREAMS)}
    of_streams: list[Any] = [decoder_options] * _MOST_STREAMS  # Any: PyAV's stub says list[str], its manual dicts
    try:
        return av.open(
            str(path), format=_demuxer(path), options=options, stream_options=of_streams, metadata_errors="ignore"
        )
    except ValueError as error:  # raised by PyAV for files without a stream
        raise unreadable("FFmpeg finds no stream in it") from error


def _demuxer(path: Path) -> str:
    with path.open("rb") as file:
        return "matroska" if sniff(file.read(SNIFFED_BYTES)) in {MATROSKA, WEBM} else "mov"


def _video_stream(container: InputContainer, limits: DecodeLimits) -> VideoStream:
    stream = _moving_stream(container)
    codec = cast("VideoCodecContext | None", stream.codec_context)  # None: FFmpeg has no decoder for it
    if codec is None or codec.name not in _CODECS:
        name = codec.name if codec else "of this video"
        raise MediaTypeRefused(f"the codec {name} is not accepted", fix="encode it as H.264, VP9 or AV1")
    # FFmpeg leaves the size at 0 if it is above max_pixels.
    if not 0 < codec.width * codec.height <= limits.max_pixels:
        size = f"{codec.width} x {codec.height}" if codec.width else "too many (or an unknown number of)"
        fix = "scale the video down"
        raise MediaTooLarge(f"the video's frames have {size} pixels; {limits.max_pixels} are allowed", fix=fix)
    return stream


def _moving_stream(container: InputContainer) -> VideoStream:
    best = container.streams.best("video")
    streams = [*([best] if isinstance(best, VideoStream) else []), *container.streams.video]
    for stream in streams:
        if not stream.disposition & _ATTACHED_PICTURES:
            return stream
    what = "sound but no picture" if container.streams.audio else "no video stream"
    raise MediaTypeRefused(f"the video has {what}", fix="give a file with a video in it")


def unreadable(what: str) -> MediaUnreadable:
    return MediaUnreadable(
        f"the video cannot be used: {what}", fix="give a whole MP4, WebM, Matroska or QuickTime file"
    )
