"""The HLS media playlist of a job, as text. Pure: knows chunks only by URL, sizes and frame counts.

An EVENT playlist (RFC 8216, 4.3.3.5): chunks are only ever appended, and EXT-X-ENDLIST closes it. Every chunk object
carries its own head; players take chunk 0's as the init segment and read the others from behind theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from core.service.domain.frame_plan import CHUNK_FRAMES

CONTENT_TYPE = "application/vnd.apple.mpegurl"


@dataclass(frozen=True)
class PlaylistEntry:
    """One chunk: its URL, the object's size, the head's (ftyp+moov), and its number of frames."""

    url: str
    size_bytes: int
    head_bytes: int
    num_frames: int


def render_playlist(entries: Sequence[PlaylistEntry], fps: int | Fraction, *, ended: bool) -> str:
    """The playlist of a job's chunks, oldest first; valid also while there is none yet. `ended`: no more will come.

    Durations are cut from one timeline of microseconds, so that their sum never drifts from the video's."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        # It must never change (RFC 8216, 6.2.1), so it follows from fps alone: no chunk is longer than a full one.
        f"#EXT-X-TARGETDURATION:{ceil(Fraction(CHUNK_FRAMES, fps))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:TIME-OFFSET=0",  # a live player begins near the end otherwise
    ]
    if entries:
        lines.append(f'#EXT-X-MAP:URI="{entries[0].url}",BYTERANGE="{entries[0].head_bytes}@0"')
    first_frame = 0
    for entry in entries:
        lines += _segment(entry, first_frame, fps)
        first_frame += entry.num_frames
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def _segment(entry: PlaylistEntry, first_frame: int, fps: int | Fraction) -> list[str]:
    duration = _microseconds(first_frame + entry.num_frames, fps) - _microseconds(first_frame, fps)
    return [
        f"#EXTINF:{duration // 1_000_000}.{duration % 1_000_000:06d},",
        f"#EXT-X-BYTERANGE:{entry.size_bytes - entry.head_bytes}@{entry.head_bytes}",
        entry.url,
    ]


def _microseconds(frame: int, fps: int | Fraction) -> int:
    """When a frame begins, to the nearest microsecond."""
    return round(Fraction(frame * 1_000_000) / fps)
