"""The HLS media playlist of a job, as text.

An EVENT playlist (RFC 8216, 4.3.3.5): chunks are only appended, and EXT-X-ENDLIST closes it. That of a job without
an end slides while the job runs (6.2.2): it has the newest chunks alone, and EXT-X-MEDIA-SEQUENCE is the index of the
first. Every chunk object has its own head; players use that of chunk 0 as the init segment and skip the others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from core.service.domain.frame_plan import CHUNK_FRAMES

CONTENT_TYPE = "application/vnd.apple.mpegurl"
SLIDING_CHUNKS = 16
"""Chunks of a sliding playlist: five times the three that players keep before its end. Older ones stay stored."""


@dataclass(frozen=True)
class PlaylistEntry:
    """One chunk: URL, size of the object, size of its head (ftyp+moov), and number of frames."""

    url: str
    size_bytes: int
    head_bytes: int
    num_frames: int


def render_playlist(entries: Sequence[PlaylistEntry], fps: int | Fraction, *, ended: bool) -> str:
    """The playlist of a job's chunks, oldest first; valid also without chunks. `ended`: no more will be added."""
    kind = "#EXT-X-PLAYLIST-TYPE:EVENT"
    start = "#EXT-X-START:TIME-OFFSET=0"  # otherwise live players start near the end
    text = _rendered(entries[:1], entries, fps, 0, before=[kind], after=[start])
    return f"{text}#EXT-X-ENDLIST\n" if ended else text


def render_sliding_playlist(
    init: Sequence[PlaylistEntry], newest: Sequence[PlaylistEntry], fps: int | Fraction, first_index: int
) -> str:
    """The playlist of the newest chunks, oldest first, of a job that goes on; `first_index` is the index of the first.
    `init` has chunk 0, whose head stays the init segment."""
    return _rendered(init, newest, fps, first_index, before=[], after=[])


def _rendered(
    init: Sequence[PlaylistEntry],
    entries: Sequence[PlaylistEntry],
    fps: int | Fraction,
    first_index: int,
    *,
    before: list[str],
    after: list[str],
) -> str:
    """`before` and `after`: lines around EXT-X-INDEPENDENT-SEGMENTS.

    Durations are differences of rounded microsecond times, so that their sum does not drift from the video's."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        # It must not change (RFC 8216, 6.2.1), so it is the duration of a full chunk, the longest possible.
        f"#EXT-X-TARGETDURATION:{ceil(Fraction(CHUNK_FRAMES, fps))}",
        f"#EXT-X-MEDIA-SEQUENCE:{first_index}",
        *before,
        "#EXT-X-INDEPENDENT-SEGMENTS",
        *after,
        *(f'#EXT-X-MAP:URI="{one.url}",BYTERANGE="{one.head_bytes}@0"' for one in init),
    ]
    first_frame = first_index * CHUNK_FRAMES
    for entry in entries:
        lines += _segment(entry, first_frame, fps)
        first_frame += entry.num_frames
    return "\n".join(lines) + "\n"


def _segment(entry: PlaylistEntry, first_frame: int, fps: int | Fraction) -> list[str]:
    duration = _microseconds(first_frame + entry.num_frames, fps) - _microseconds(first_frame, fps)
    return [
        f"#EXTINF:{duration // 1_000_000}.{duration % 1_000_000:06d},",
        f"#EXT-X-BYTERANGE:{entry.size_bytes - entry.head_bytes}@{entry.head_bytes}",
        entry.url,
    ]


def _microseconds(frame: int, fps: int | Fraction) -> int:
    """Start time of a frame, to the nearest microsecond."""
    return round(Fraction(frame * 1_000_000) / fps)
