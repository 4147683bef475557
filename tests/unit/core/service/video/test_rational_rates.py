"""Videos at fractional rates: decode times without gap or overlap, from the chunk to the playlist."""

from __future__ import annotations

import io
import re
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.service.domain.errors import VideoTooShort
from core.service.domain.frame_plan import CHUNK_FRAMES, chunk_span, num_chunks
from core.service.domain.frame_rate import MAX_DENOMINATOR, seconds_of
from core.service.media.video import DecodeLimits, last_frames
from core.service.video.final_video import join_chunks
from core.service.video.playlist import PlaylistEntry, render_playlist
from core.service.video.segments import EncodedChunk, encode_chunk
from tests.helpers.boxes import find_box
from tests.helpers.pictures import numbered_frames, numbers_are_in_order

FILM = Fraction(24000, 1001)
RATES = [FILM, Fraction(30000, 1001), Fraction(60000, 1001), Fraction(25, 2), Fraction(599_999, 10_000)]
rates = st.fractions(min_value=1, max_value=60, max_denominator=MAX_DENOMINATOR)


def encoded(num_frames: int, fps: int | Fraction, size: int = 16) -> list[EncodedChunk]:
    spans = [chunk_span(index, num_frames) for index in range(num_chunks(num_frames))]
    return [
        encode_chunk(numbered_frames(span.num_frames, span.first_frame, size), fps, span.index, span.first_frame)
        for span in spans
    ]


def packet_times(source: bytes | Path) -> list[tuple[Fraction, Fraction]]:
    """Exact (decode time, duration) in seconds of every packet."""
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), mode="r") as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        assert all(packet.pts == packet.dts for packet in found)
        return [((packet.dts or 0) * packet.time_base, (packet.duration or 0) * packet.time_base) for packet in found]


def timing(chunk: EncodedChunk) -> tuple[Fraction, Fraction]:
    """Decode time of the first frame and duration of each, in seconds, from mdhd, tfdt and tfhd (ISO/IEC 14496-12)."""
    media = find_box(chunk.data, "moov", "trak", "mdia", "mdhd")
    time, header, run = (find_box(chunk.data, "moof", "traf", name) for name in ("tfdt", "tfhd", "trun"))
    assert not int.from_bytes(chunk.data[run.payload : run.payload + 4], "big") & 0x100, "no frame has its own duration"
    timescale = int.from_bytes(chunk.data[media.payload + 12 : media.payload + 16], "big")
    ticks = int.from_bytes(chunk.data[time.payload + 4 : time.payload + 12], "big")
    frame_ticks = int.from_bytes(chunk.data[header.payload + 12 : header.payload + 16], "big")
    return Fraction(ticks, timescale), Fraction(frame_ticks, timescale)


@settings(max_examples=20, deadline=None)
@given(fps=rates, index=st.integers(0, 100_000))
def test_any_chunk_begins_exactly_where_the_one_before_ends(fps: Fraction, index: int) -> None:
    for number in (index, index + 1):
        chunk = encode_chunk(numbered_frames(1, size=16), fps, number, number * CHUNK_FRAMES)
        assert timing(chunk) == (number * CHUNK_FRAMES / fps, 1 / fps)


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_joined_chunks_have_every_frame_at_its_time(fps: Fraction, tmp_path: Path) -> None:
    num_frames = 10 * CHUNK_FRAMES + 3
    join_chunks((chunk.data for chunk in encoded(num_frames, fps)), tmp_path / "video.mp4")
    assert packet_times(tmp_path / "video.mp4") == [(frame / fps, 1 / fps) for frame in range(num_frames)]
    with av.open(str(tmp_path / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.frames) == (fps, num_frames)


def test_three_hundred_film_chunks_play_as_hls_without_gap_or_overlap(tmp_path: Path) -> None:
    num_frames = 300 * CHUNK_FRAMES
    entries = list[PlaylistEntry]()
    for number, chunk in enumerate(encoded(num_frames, FILM)):
        (tmp_path / f"{number}.mp4").write_bytes(chunk.data)
        entries.append(PlaylistEntry(f"{number}.mp4", len(chunk.data), chunk.head_bytes, CHUNK_FRAMES))
    playlist = tmp_path / "playlist.m3u8"
    playlist.write_text(render_playlist(entries, FILM, ended=True))

    assert packet_times(playlist) == [(frame / FILM, 1 / FILM) for frame in range(num_frames)]


def durations(playlist: str) -> list[Fraction]:
    return [Fraction(text) for text in re.findall(r"^#EXTINF:([\d.]+),$", playlist, flags=re.MULTILINE)]


@settings(max_examples=50, deadline=None)
@given(fps=rates | st.integers(1, 60), num_frames=st.integers(16, 20_000))
def test_durations_of_a_playlist_never_drift_from_the_video(fps: int | Fraction, num_frames: int) -> None:
    entries = [
        PlaylistEntry("x", 2000, 800, chunk_span(index, num_frames).num_frames)
        for index in range(num_chunks(num_frames))
    ]
    text = render_playlist(entries, fps, ended=True)
    found, microsecond = durations(text), Fraction(1, 1_000_000)
    assert len(found) == len(entries)
    assert abs(sum(found) - num_frames / Fraction(fps)) <= microsecond
    assert all(
        abs(duration - entry.num_frames / Fraction(fps)) <= microsecond
        for duration, entry in zip(found, entries, strict=True)
    )
    target = re.search(r"^#EXT-X-TARGETDURATION:(\d+)$", text, flags=re.MULTILINE)
    assert target is not None
    assert max(found) <= int(target[1])


def test_a_growing_playlist_never_changes_a_published_duration() -> None:
    entries = [PlaylistEntry("x", 2000, 800, CHUNK_FRAMES)] * 50
    whole = render_playlist(entries, FILM, ended=False)
    for count in range(1, 50):
        assert whole.startswith(render_playlist(entries[:count], FILM, ended=False))


def test_a_video_at_a_fractional_rate_is_continued_at_that_rate(tmp_path: Path) -> None:
    join_chunks((chunk.data for chunk in encoded(40, FILM, size=32)), tmp_path / "video.mp4")
    limits = DecodeLimits(max_pixels=100_000, max_seconds=60, decode_seconds=30)
    frames = last_frames(tmp_path / "video.mp4", fps=FILM, height=32, width=32, limits=limits, tick=lambda: None)
    assert numbers_are_in_order(frames, first_frame=24)

    with pytest.raises(VideoTooShort, match="15 frames at"):
        last_frames(
            tmp_path / "video.mp4", fps=Fraction(9000, 1001), height=32, width=32, limits=limits, tick=lambda: None
        )


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_all_chunks_of_a_job_share_one_head(fps: Fraction) -> None:
    chunks = encoded(35, fps)
    assert len({chunk.data[: chunk.head_bytes] for chunk in chunks}) == 1


def test_a_chunk_of_a_whole_rate_is_the_same_however_the_rate_is_written() -> None:
    frames = numbered_frames(16, size=16)
    assert encode_chunk(frames, 8, 3, 48) == encode_chunk(frames, Fraction(8), 3, 48)


def test_seconds_shown_of_a_film_rate_are_those_that_are_played() -> None:
    assert seconds_of(48, FILM) == pytest.approx(float(sum(duration for _, duration in packet_times_of(48))), abs=1e-12)


def packet_times_of(num_frames: int) -> list[tuple[Fraction, Fraction]]:
    return [time for chunk in encoded(num_frames, FILM) for time in packet_times(chunk.data)]
