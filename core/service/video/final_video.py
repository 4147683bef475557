"""Joins chunks to one MP4 by stream copy: no frame is re-encoded, dropped or added. Holds one chunk at a time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from core.service.video.decode import VideoUnreadable


def join_chunks(chunks: Iterable[bytes], out_path: Path) -> None:
    """Write the chunks, in order, to a faststart MP4 (index first, so that it plays while loading).

    Deterministic. Raises VideoUnreadable if a chunk is damaged or there is none.
    """
    stream: VideoStream | None = None
    # Without the names of encoder and muxer, which would change the bytes with every FFmpeg version.
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(out_path), "w", format="mp4", options=options) as output:
        for chunk in chunks:
            stream = _copy(chunk, output, stream)
    if stream is None:
        raise VideoUnreadable("There are no chunks to join.")


def _copy(chunk: bytes, output: OutputContainer, stream: VideoStream | None) -> VideoStream:
    """Append a chunk's packets; the first chunk gives the stream its parameters."""
    try:
        with av.open(io.BytesIO(chunk), mode="r") as container:
            source = container.streams.video[0]
            target = stream or output.add_stream_from_template(source)
            for packet in _packets(container.demux(source)):
                packet.stream = target
                output.mux(packet)
            return target
    except (FFmpegError, IndexError) as error:
        raise VideoUnreadable(f"A chunk cannot be read: {error}") from error


def _packets(demuxed: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """All packets except the empty one at the end of a file."""
    return (packet for packet in demuxed if packet.size)
