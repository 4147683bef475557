"""What decoding a given image or video gives. Knows no files and no job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.service.domain.engine import FrameHWC, FramesTHWC
from core.service.domain.schema import JobWarning


@dataclass(frozen=True)
class Decoded:
    """A picture, or the last frames of a video; `warnings` tell what was odd about the file but possible."""

    image: FrameHWC | None = None
    frames: FramesTHWC | None = None
    warnings: tuple[JobWarning, ...] = ()


Tick = Callable[[], None]
"""Called often while something is fetched, read or decoded; may raise to stop."""
Warn = Callable[[JobWarning], None]
"""Receives one warning about the file; called at most once for each code."""


def ignore_warning(warning: JobWarning) -> None:
    """For those who do not want to know."""
    del warning
