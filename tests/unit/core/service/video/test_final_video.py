"""Joined chunks: every packet, its bytes and its time; nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from core.service.domain.frame_plan import chunk_span, num_chunks
from core.service.video.boxes import iter_boxes
from core.service.video.decode import VideoUnreadable, decode_frames
from core.service.video.final_video import join_chunks
from core.service.video.segments import encode_chunk
from tests.helpers.pictures import numbered_frames, numbers_are_in_order


def chunks_of(num_frames: int, fps: int = 8) -> Iterator[bytes]:
    for index in range(num_chunks(num_frames)):
        span = chunk_span(index, num_frames)
        yield encode_chunk(numbered_frames(span.num_frames, span.first_frame), fps, index, span.first_frame).data


def packets_of(video: bytes) -> list[tuple[float, bytes]]:
    """Time in seconds and payload of every packet."""
    with av.open(io.BytesIO(video), mode="r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets if packet.pts is not None]


@pytest.mark.parametrize(("num_frames", "fps"), [(16, 8), (17, 8), (48, 24), (100, 7), (33, 60), (31, 1)])
def test_every_frame_is_there_once_and_in_order(num_frames: int, fps: int, tmp_path: Path) -> None:
    join_chunks(chunks_of(num_frames, fps), tmp_path / "video.mp4")

    frames_THWC = decode_frames(tmp_path / "video.mp4")

    assert len(frames_THWC) == num_frames
    assert numbers_are_in_order(frames_THWC)


@pytest.mark.parametrize(("num_frames", "fps"), [(17, 8), (48, 24), (100, 7)])
def test_rate_and_duration_are_those_asked_for(num_frames: int, fps: int, tmp_path: Path) -> None:
    join_chunks(chunks_of(num_frames, fps), tmp_path / "video.mp4")

    with av.open(str(tmp_path / "video.mp4"), mode="r") as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.average_rate, stream.codec_context.name) == (num_frames, fps, "h264")
        assert stream.duration is not None
        assert float(stream.duration * (stream.time_base or 0)) == pytest.approx(num_frames / fps, abs=1e-4)


def test_packets_are_copied_not_encoded_again(tmp_path: Path) -> None:
    join_chunks(chunks_of(40), tmp_path / "video.mp4")

    assert packets_of((tmp_path / "video.mp4").read_bytes()) == [
        p for chunk in chunks_of(40) for p in packets_of(chunk)
    ]


def test_the_index_stands_before_the_frames(tmp_path: Path) -> None:
    join_chunks(chunks_of(32), tmp_path / "video.mp4")

    boxes = [box.type for box in iter_boxes((tmp_path / "video.mp4").read_bytes())]
    assert boxes.index("moov") < boxes.index("mdat")
    assert "moof" not in boxes


def test_the_same_chunks_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        join_chunks(chunks_of(20), tmp_path / name)

    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_chunks_are_taken_one_by_one(tmp_path: Path) -> None:
    """A long video must not have to fit into memory: each chunk is written before the next is asked for."""
    written: list[int] = []

    def watched() -> Iterator[bytes]:
        for chunk in chunks_of(16 * 40):
            written.append((tmp_path / "video.mp4").stat().st_size if (tmp_path / "video.mp4").exists() else 0)
            yield chunk

    join_chunks(watched(), tmp_path / "video.mp4")

    assert written[-1] > 0


def test_no_chunks_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoUnreadable, match="no chunks"):
        join_chunks([], tmp_path / "video.mp4")


def test_a_damaged_chunk_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(VideoUnreadable, match="cannot be read"):
        join_chunks([*chunks_of(16), b"not a video"], tmp_path / "video.mp4")
