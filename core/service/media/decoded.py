"""The result of decoding input media, and the callbacks of decoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.service.domain.engine import FrameHWC, FramesTHWC
from core.service.domain.schema import JobWarning


@dataclass(frozen=True)
class Decoded:
    """An image, or the last frames of a video; `warnings` are about the file."""

    image: FrameHWC | None = None
    frames: FramesTHWC | None = None
    warnings: tuple[JobWarning, ...] = ()


Tick = Callable[[], None]
"""Called often while media are fetched, read or decoded; may raise to stop."""
Warn = Callable[[JobWarning], None]
"""Receives one warning about the file; called at most once for each code."""


def ignore_warning(warning: JobWarning) -> None:
    """A Warn that drops the warning."""
    del warning
