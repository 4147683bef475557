"""Makes small images and videos for tests, as cameras and browsers would. Knows no service.

Each frame encodes its own number, which `numbers_of` reads back through any codec.
"""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from core.service.domain.engine import FrameHWC

CODECS = {"mp4": "libx264", "mov": "libx264", "matroska": "libx264", "webm": "libvpx-vp9"}
DIGITS = 8
STEP = 28
"""Brightness from one digit to the next: no codec takes one for the other."""


def numbered_frame(number: int, height: int = 48, width: int = 64) -> FrameHWC:
    """Two halves, grey as bright as the two octal digits of `number`, and a white block in the upper left corner."""
    frame = np.empty((height, width, 3), dtype=np.uint8)
    frame[:, : width // 2] = 16 + STEP * (number // DIGITS % DIGITS)
    frame[:, width // 2 :] = 16 + STEP * (number % DIGITS)
    frame[: height // 4, : width // 4] = 255
    return frame


def numbers_of(frames: NDArray[np.uint8]) -> list[int]:
    """The numbers (below 64) of frames THWC, from the pixels around the middle."""
    _, height, width, _ = frames.shape
    rows, eighth = slice(height * 2 // 5, height * 3 // 5), width // 8
    halves = (slice(width // 2 - 2 * eighth, width // 2 - eighth), slice(width // 2 + eighth, width // 2 + 2 * eighth))
    high, low = (np.rint((frames[:, rows, half].mean(axis=(1, 2, 3)) - 16) / STEP) for half in halves)
    return [int(number) for number in high * DIGITS + low]


def clip(
    path: Path,
    num_frames: int,
    *,
    fps: int = 24,
    height: int = 48,
    width: int = 64,
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
    key_frame_every: int = 12,
    **muxer_options: str,
) -> Path:
    """A video of numbered frames; the container is told by the file's suffix, `muxer_options` are FFmpeg's."""
    container_format = path.suffix[1:]
    with av.open(str(path), "w", format=container_format, options=muxer_options) as container:
        stream = cast(VideoStream, container.add_stream(CODECS[container_format], rate=fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = key_frame_every
        if rotation:
            stream.set_display_rotation(rotation)
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        for number in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number, height, width), "rgb24")))
        container.mux(stream.encode(None))
    return path


def faststart(source: Path, target: Path) -> Path:
    """The same MP4 with its index in front, so that a cut-off copy can still be opened."""
    with av.open(str(source)) as given, av.open(str(target), "w", options={"movflags": "faststart"}) as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    return target


def trimmed(source: Path, target: Path, first: int) -> Path:
    """The same MP4 from a frame on, not coded anew: an edit list hides what its first frames are decoded from."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                by = first * (packet.duration or 0)
                packet.pts, packet.dts, packet.stream = packet.pts - by, packet.dts - by, stream
                made.mux(packet)
    return target


def picture(colour: tuple[int, ...], mode: str = "RGB", size: tuple[int, int] = (40, 20), **options: object) -> bytes:
    """An image file; `options` are Pillow's for saving, PNG unless `format` says otherwise."""
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, **{"format": "PNG", **options})  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def png_bomb(side: int) -> bytes:
    """A PNG whose header promises side x side pixels, all zero, in some kilobytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(10_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
