"""Chunks: their boxes, their bytes, and that they play alone."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from core.service.video.boxes import iter_boxes
from core.service.video.decode import decode_frames
from core.service.video.segments import EncodedChunk, FramesNotEncodable, encode_chunk
from tests.helpers.boxes import find_box
from tests.helpers.pictures import numbered_frames, numbers_are_in_order

FPS = 8


def chunk(index: int, count: int = 16, fps: int = FPS) -> EncodedChunk:
    return encode_chunk(numbered_frames(count, index * 16), fps, index, index * 16)


def number_at(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "big")


def decode_time_seconds(data: bytes) -> float:
    """baseMediaDecodeTime (ISO/IEC 14496-12, 8.8.12; version 1 has 64 bits) over the timescale of mdhd (8.4.2)."""
    time, media = find_box(data, "moof", "traf", "tfdt"), find_box(data, "moov", "trak", "mdia", "mdhd")
    assert data[time.payload] == 1, "only version 1 has room for long videos"
    return number_at(data, time.payload + 4, 8) / number_at(data, media.payload + 12, 4)


def test_a_chunk_is_exactly_ftyp_moov_moof_mdat() -> None:
    assert [box.type for box in iter_boxes(chunk(0).data)] == ["ftyp", "moov", "moof", "mdat"]


def test_the_head_ends_where_the_fragment_begins() -> None:
    encoded = chunk(3)

    assert encoded.data[encoded.head_bytes + 4 : encoded.head_bytes + 8] == b"moof"


def test_all_chunks_of_a_job_have_the_same_head_whatever_their_length() -> None:
    chunks = [chunk(0), chunk(1), chunk(2, count=1), chunk(7, count=5), chunk(1000)]

    assert len({encoded.data[: encoded.head_bytes] for encoded in chunks}) == 1


def test_another_frame_rate_or_size_has_another_head() -> None:
    big = encode_chunk(numbered_frames(16, size=128), FPS, 0, 0)

    assert len({encoded.data[: encoded.head_bytes] for encoded in (chunk(0), chunk(0, fps=9), big)}) == 3


@pytest.mark.parametrize("index", [0, 1, 2, 1000, 20_000_000])
def test_decode_time_continues_from_chunk_to_chunk(index: int) -> None:
    assert decode_time_seconds(chunk(index, count=2).data) == index * 16 / FPS


@pytest.mark.parametrize("index", [0, 1, 1000])
def test_fragments_are_numbered_from_one(index: int) -> None:
    data = chunk(index, count=2).data

    assert number_at(data, find_box(data, "moof", "mfhd").payload + 4, 4) == index + 1


@pytest.mark.parametrize("count", [1, 2, 15, 16])
def test_a_chunk_plays_alone_with_every_frame_at_its_time(count: int) -> None:
    with av.open(io.BytesIO(chunk(5, count).data), mode="r") as container:
        times = [frame.time for frame in container.decode(video=0)]

    assert times == [(80 + offset) / FPS for offset in range(count)]
    assert numbers_are_in_order(decode_frames(chunk(5, count).data), first_frame=80)


def test_only_the_first_frame_is_a_key_frame_and_none_is_reordered() -> None:
    with av.open(io.BytesIO(chunk(1).data), mode="r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]

    assert [packet.is_keyframe for packet in packets] == [True] + [False] * 15
    assert [packet.pts for packet in packets] == [packet.dts for packet in packets]
    assert {packet.duration * packet.time_base for packet in packets if packet.duration and packet.time_base} == {
        1 / FPS
    }


def test_the_file_says_its_pixel_format_and_colours() -> None:
    with av.open(io.BytesIO(chunk(0).data), mode="r") as container:
        codec = container.streams.video[0].codec_context

        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 64, 64)
        assert (codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc) == (1, 1, 1, 1)


@pytest.mark.parametrize("fps", [1, 7, 24, 60])
def test_the_same_frames_give_the_same_bytes(fps: int) -> None:
    assert chunk(4, fps=fps) == chunk(4, fps=fps)


def test_small_pictures_stay_crisp() -> None:
    frames_THWC = np.full((16, 64, 64, 3), (30, 90, 200), np.uint8)
    frames_THWC[:, 16:48, 16:48] = (250, 60, 20)

    shown_THWC = decode_frames(encode_chunk(frames_THWC, FPS, 0, 0).data)

    error_THWC = np.abs(shown_THWC.astype(int) - frames_THWC)
    assert error_THWC[:, 20:44, 20:44].max() <= 4, "flat areas keep their colour"
    assert error_THWC.mean() < 2, "edges lose only what half the colour resolution costs"


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((4, 63, 64, 3), "64x63"),
        ((4, 64, 65, 3), "even"),
        ((4, 8, 8, 3), "at least 16"),
        ((0, 64, 64, 3), "1 to 16"),
        ((17, 64, 64, 3), "1 to 16"),
        ((64, 64, 3), "THWC"),
        ((4, 64, 64, 4), "THWC"),
    ],
)
def test_frames_that_cannot_be_stored_are_refused(shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(FramesNotEncodable, match=reason):
        encode_chunk(np.zeros(shape, np.uint8), FPS, 0, 0)


def test_frames_of_another_type_are_refused() -> None:
    with pytest.raises(FramesNotEncodable, match="float32"):
        encode_chunk(np.zeros((4, 64, 64, 3), np.float32), FPS, 0, 0)  # pyright: ignore[reportArgumentType] - the wrong type is the test
