"""What the worker asks of the program that measures. Imports no metric, and so no OpenCV."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from core.service.domain.schema import Variant
from core.service.engines.capabilities import WindowLengths

MEMORY_BYTES = 3_000_000_000
"""Of address space: twice what frames of 3840x2160 take, however many they are. A damaged video must not starve the
worker."""


class MeasureRequest(BaseModel):
    """What to measure, and the folder for the files that tell of it."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    videos: dict[Variant, Path]
    fps: float
    num_frames: dict[Variant, int] = Field(default_factory=dict[Variant, int])
    """Frames that a video must have, where that is known."""
    windows: WindowLengths | None = None
    """Of the windows that the videos are made of, for the seam score."""
    memory_bytes: int = MEMORY_BYTES
    """The most address space that measuring takes beyond the program itself and its threads."""
    niceness: int
    """Added to that of the worker."""

    @property
    def progress(self) -> Path:
        """Its text changes with each frame."""
        return self.folder / "progress"

    @property
    def result(self) -> Path:
        """JSON: `videos`, each a MeasuredVideo by its variant; or `unreadable`, why there are none."""
        return self.folder / "result"
