"""The 16 frames that a job begins with, beside those that FFmpeg decodes of the same clip, and encoders of clips."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import MediaError
from core.service.domain.schema import JobWarning
from core.service.media.video import DecodeLimits, last_frames
from tests.helpers.ffmpeg import decoded, fitted, last_of

LIMITS = DecodeLimits(max_pixels=100_000, max_seconds=60.0, decode_seconds=60.0)
HEIGHT, WIDTH = 32, 40
TOLERANCE = 2.0
"""Mean difference in grey levels."""
LEAST_TELLING = 5.0
"""A wrong frame, turn or colour differs by more."""

H264 = ("-c:v", "libx264", "-crf", "4", "-pix_fmt", "yuv420p")
VP9 = ("-c:v", "libvpx-vp9", "-crf", "4", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "8")
VP8 = ("-c:v", "libvpx", "-crf", "4", "-b:v", "4M", "-deadline", "realtime", "-auto-alt-ref", "0", "-cpu-used", "8")


def read(path: Path, fps: int | Fraction = 8, warnings: list[JobWarning] | None = None) -> FramesTHWC:
    """The frames that a job begins with."""
    heard = [] if warnings is None else warnings
    return last_frames(path, fps=fps, height=HEIGHT, width=WIDTH, limits=LIMITS, tick=lambda: None, warn=heard.append)


def refusal(path: Path) -> MediaError:
    """What reading it raises, which says how to put it right."""
    with pytest.raises(MediaError) as caught:
        read(path)
    assert caught.value.fix, caught.value
    return caught.value


def reference(path: Path, fps: int | Fraction = 8, filters: str = "null") -> FramesTHWC:
    """The same frames by FFmpeg."""
    times, frames = decoded(path, filters)
    return fitted(frames[last_of(times, fps)], HEIGHT, WIDTH)


def difference(one: FramesTHWC, other: FramesTHWC) -> float:
    """Mean, in grey levels."""
    return float(np.abs(one.astype(float) - other).mean())


def assert_alike(path: Path, fps: int | Fraction = 8, filters: str = "null") -> None:
    ours, theirs = read(path, fps), reference(path, fps, filters)
    assert (apart := difference(ours, theirs)) < TOLERANCE, apart
    assert difference(np.roll(ours, 1, axis=0), theirs) > LEAST_TELLING, "the frames tell which one each is"
