"""The HLS media playlist of a job, as text.

An EVENT playlist (RFC 8216, 4.3.3.5): chunks are only appended, and EXT-X-ENDLIST closes it. Every chunk object has its
own head; players use that of chunk 0 as the init segment and skip those of the others.
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
    """One chunk: URL, size of the object, size of its head (ftyp+moov), and number of frames."""

    url: str
    size_bytes: int
    head_bytes: int
    num_frames: int


def render_playlist(entries: Sequence[PlaylistEntry], fps: int | Fraction, *, ended: bool) -> str:
    """The playlist of a job's chunks, oldest first; valid also without chunks. `ended`: no more will be added.

    Durations are differences of rounded microsecond times, so that their sum does not drift from the video's."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        # It must not change (RFC 8216, 6.2.1), so it is the duration of a full chunk, the longest possible.
        f"#EXT-X-TARGETDURATION:{ceil(Fraction(CHUNK_FRAMES, fps))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:TIME-OFFSET=0",  # otherwise live players start near the end
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
    """Start time of a frame, to the nearest microsecond."""
    return round(Fraction(frame * 1_000_000) / fps)
