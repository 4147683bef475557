"""Joins a job's chunks to one MP4 by copying their packets: no frame is encoded twice, dropped or added.

One chunk is held at a time, whatever the video's length. Knows no job and no storage.
"""

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
    """Write the chunks, in order and at least one, to an MP4 whose index stands in front: it plays while loading.

    Same chunks, same bytes. Raises VideoUnreadable where a chunk is damaged or none came.
    """
    stream: VideoStream | None = None
    # The encoder's and muxer's names stay out of the file: they would change its bytes with every FFmpeg.
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(out_path), "w", format="mp4", options=options) as output:
        for chunk in chunks:
            stream = _copy(chunk, output, stream)
    if stream is None:
        raise VideoUnreadable("There are no chunks to join.")


def _copy(chunk: bytes, output: OutputContainer, stream: VideoStream | None) -> VideoStream:
    """Append a chunk's packets; the first chunk's head becomes the stream's."""
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
    """Without the empty packet that ends a file."""
    return (packet for packet in demuxed if packet.size)
