"""What the worker asks of the program that measures. Imports no metric, and so no OpenCV."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from core.service.domain.schema import Variant


class MeasureRequest(BaseModel):
    """What to measure, and the folder for the files that tell of it."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    videos: dict[Variant, Path]
    fps: float

    @property
    def progress(self) -> Path:
        """Its text changes with each frame."""
        return self.folder / "progress"

    @property
    def result(self) -> Path:
        """JSON: `videos`, each a MeasuredVideo by its variant; or `unreadable`, why there are none."""
        return self.folder / "result"
