"""The first pass over a video: when its frames are shown, and whether it is within the limits."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from core.service.domain.errors import MediaTooLarge, MediaTypeRefused, VideoTooShort
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.media.decoded import Tick
from core.service.media.video.container import DecodeLimits, unreadable

_MOST_FRAMES_PER_SECOND = 240
"""Limits the number of frames, together with the maximum duration."""


_JITTER_FRAMES = 0.1
"""Tolerance in frames when counting: timestamps are rounded (in WebM to milliseconds)."""


_LEAST_GAP_SECONDS = 1.0


_GAP_SHARE = 0.05
"""How much earlier than declared an intact file may end."""


_CUT = "cut it: only its end is used"


_ENCRYPTION = ("encryption_info", "encryption_init_info")


@dataclass(frozen=True)
class Timeline:
    """Presentation times of a stream's frames, in ticks of `tick_seconds`.

    `frames` are all frames in display order, `key_frames` those that decode without others, and `seek_points` where to
    seek for each key frame.
    """

    tick_seconds: Fraction
    frames: Sequence[int]
    key_frames: Sequence[int]
    seek_points: Sequence[int]

    def nearest(self, moment: Fraction) -> int:
        """The frame nearest to `moment` (in ticks)."""
        after = bisect.bisect_left(self.frames, moment)
        return min(self.frames[max(0, after - 1) : after + 1], key=lambda frame: abs(frame - moment))

    def seek_point(self, frame: int) -> int | None:
        """Where to start decoding for `frame`; None: at the start of the file."""
        before = bisect.bisect_right(self.key_frames, frame)
        return self.seek_points[before - 1] if before else None


def read_timeline(container: InputContainer, stream: VideoStream, limits: DecodeLimits, tick: Tick) -> Timeline:
    """The first pass. Reads the packets of all streams, since any may end last."""
    frames, key_frames, end_seconds = list[int](), list[tuple[int, int]](), 0.0
    most_frames = limits.max_seconds * _MOST_FRAMES_PER_SECOND
    for packet in container.demux():
        tick()
        if packet.pts is None or packet.is_discard:
            continue
        if packet.is_corrupt:
            raise unreadable("it is cut off")
        end_seconds = max(end_seconds, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index == stream.index:
            _check_readable(packet)
            frames.append(packet.pts)
            if packet.is_keyframe:
                key_frames.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
        if len(frames) > most_frames:
            raise MediaTooLarge(f"the video has more than {most_frames:.0f} frames", fix=_CUT)
    if not frames:
        raise unreadable("it has no frames")
    _check_end(container, end_seconds)
    ordered = sorted(key_frames)
    timeline = Timeline(
        Fraction(stream.time_base or 1), sorted(frames), [pts for pts, _ in ordered], [seek for _, seek in ordered]
    )
    if _seconds(timeline) > limits.max_seconds:
        raise MediaTooLarge(
            f"the video has {float(_seconds(timeline)):.1f} s; {limits.max_seconds:g} are allowed", fix=_CUT
        )
    return timeline


def _check_readable(packet: av.Packet[Any]) -> None:
    if any(packet.has_sidedata(name) for name in _ENCRYPTION):
        raise MediaTypeRefused("the video is encrypted (DRM)", fix="give one that plays without a key")


def _seconds(timeline: Timeline) -> Fraction:
    """Time from the first frame to the last."""
    return (timeline.frames[-1] - timeline.frames[0]) * timeline.tick_seconds


def _check_end(container: InputContainer, end_seconds: float) -> None:
    """Raise MediaUnreadable if the file ends before its declared duration.

    Some containers count the duration from zero, some from the first frame; either is accepted.
    """
    declared = (min(container.start_time or 0, 0) + (container.duration or 0)) / av.time_base
    if declared - end_seconds > max(_LEAST_GAP_SECONDS, _GAP_SHARE * declared):
        raise unreadable(f"it is cut off after {end_seconds:.1f} of {declared:.1f} s")


def moments_from_start(timeline: Timeline, fps: int | Fraction, most: int) -> list[Fraction]:
    """Times in ticks, 1/fps apart, from the first frame to the last, at most `most`."""
    found = min(int(_seconds(timeline) * fps + _JITTER_FRAMES) + 1, most)
    return [timeline.frames[0] + index / (fps * timeline.tick_seconds) for index in range(found)]


def moments_of(timeline: Timeline, fps: int | Fraction) -> list[Fraction]:
    """16 times in ticks, 1/fps apart, ending with the last frame's. Raises VideoTooShort."""
    found = int(_seconds(timeline) * fps + _JITTER_FRAMES) + 1
    if found < CHUNK_FRAMES:
        rate = f"{float(fps):.6g} frames per second"
        message = f"the video has {found} frames at {rate}; {CHUNK_FRAMES} are needed to continue it"
        seconds = float(CHUNK_FRAMES / fps)
        raise VideoTooShort(message, fix=f"give at least {seconds:.3g} s of video, or ask for a higher fps")
    ticks_between = 1 / (fps * timeline.tick_seconds)
    return [timeline.frames[-1] - (CHUNK_FRAMES - 1 - index) * ticks_between for index in range(CHUNK_FRAMES)]
