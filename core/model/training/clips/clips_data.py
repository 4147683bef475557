"""The [data] section of a recipe that trains on the user's clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from core.model.training.loop.plan import Count
from core.model.training.stages.history import HISTORY_FRAMES, WINDOW_FRAMES

Size = Annotated[int, Field(gt=0, multiple_of=8)]


@dataclass(frozen=True)
class ClipsData:
    """A folder of videos with captions.jsonl, encoded once."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    source: Literal["clips"]
    folder: Path
    height: Size
    """Pixels."""
    width: Size
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    frames_per_clip: Annotated[int, Field(ge=HISTORY_FRAMES + WINDOW_FRAMES)]
    """Maximum number of frames used of each clip, from its start."""
    cache_dtype: Literal["float16", "bfloat16"] = "float16"
    most_clips: Count | None = None
    """Maximum number of clips used; None: all."""
