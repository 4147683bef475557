"""The results of an evaluation, as they are stored in results.json. Knows no file and no metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.service.domain.schema import PromptChange

SCHEMA_VERSION = 1
Value = float | int | None


class _Stored(BaseModel):
    """Immutable; fields of a newer version are ignored when read."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StoredCurve(_Stored):
    """A value over a video's frames: the mean over each `step` frames; null where it is not a finite number."""

    step: int
    first: int = Field(default=0, description="The first value's first frame: 1 of values of pairs of frames.")
    values: tuple[float | None, ...]

    @field_validator("values", mode="before")
    @classmethod
    def _finite(cls, values: tuple[float | None, ...]) -> tuple[float | None, ...]:
        return tuple(None if value is None or not math.isfinite(value) else float(value) for value in values)


@dataclass(frozen=True)
class Column:
    """What a column of a table holds: one value, by one flow and one model. Other flows and models have others."""

    name: str
    """Such as `warp_error`."""
    flow: str | None = None
    """The optical flow that it is computed from."""
    model: str | None = None
    """The network that it is computed by."""

    @property
    def made_by(self) -> str:
        """The flow and the model, for a column's head; empty without any."""
        return ", ".join(part for part in (self.flow, self.model) if part)


class Measured(_Stored):
    """What was measured of one video."""

    values: dict[str, Value] = Field(description="By name; null where a metric says nothing of this video.")
    flows: dict[str, str] = Field(description="The flow of each value that is computed from one.")
    models: dict[str, str] = Field(description="The network of each value that is computed by one.")
    curves: dict[str, StoredCurve] = Field(description="Values over time, by name.")
    notes: tuple[str, ...] = Field(description="Why a value is null, what a reader must know.")

    @field_validator("values", mode="before")
    @classmethod
    def _finite(cls, values: Mapping[str, Value]) -> dict[str, Value]:
        """JSON has no infinite numbers."""
        return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}

    def column(self, name: str) -> Column:
        """The column of one of the values or curves."""
        return Column(name=name, flow=self.flows.get(name), model=self.models.get(name))

    def by_column(self) -> dict[Column, Value]:
        """The values with their columns."""
        return {self.column(name): value for name, value in self.values.items()}


class FileFacts(_Stored):
    """What is known of a video file before it is measured."""

    sha256: str
    size_bytes: int
    num_frames: int
    width: int
    height: int
    fps: float = Field(description="Frames per second, the mean where that varies.")
    varies: bool = Field(description="The times between frames are not all the same.")
    missing_frames: int = Field(default=0, description="Frames that the file says it has, and that are not in it.")


class VideoResult(_Stored):
    """One video of the report."""

    name: str = Field(description="The file's name, or the job's id; no two videos of a report have the same.")
    path: str = Field(description="As it was given, or where the job's video was saved.")
    job_id: str | None
    variant: Literal["preview", "refined"] | None = Field(description="Of a job's video.")
    prompt: str | None
    prompt_changes: tuple[PromptChange, ...] = Field(default=(), description="Later prompts of a job, by frame.")
    file: FileFacts
    measured: Measured


class Mean(_Stored):
    """The mean of one column over the videos that answered."""

    column: Column
    value: float | None
    low: float | None = Field(description="95 % bootstrap interval over videos; null below five.")
    high: float | None
    num_videos: int = Field(description="Videos that answered.")


class Problem(_Stored):
    """What is wrong with an input."""

    input: str = Field(description="The video, folder, job or prompt.")
    kind: Literal[
        "missing", "unreadable", "no_video", "one_frame", "duplicate", "changed", "failed", "job_failed", "left_out",
        "no_prompt", "unused_prompt", "ambiguous_prompt", "variable_frame_rate", "cut_off", "unequal", "no_network",
    ]  # fmt: skip
    text: str
    is_skipped: bool = Field(description="It was not measured. Otherwise it was, and readers should know this.")


class Results(_Stored):
    """A whole evaluation."""

    schema_version: Literal[1] = SCHEMA_VERSION
    longtake_version: str
    metrics_version: int = Field(description="Values of different versions do not compare.")
    options: dict[str, str | int | None] = Field(description="What the values depend on beside the video.")
    means: tuple[Mean, ...]
    videos: tuple[VideoResult, ...]
    problems: tuple[Problem, ...]

    @property
    def columns(self) -> list[Column]:
        """Of all videos, in the order of the means."""
        return [mean.column for mean in self.means]

    @property
    def num_skipped(self) -> int:
        return sum(problem.is_skipped for problem in self.problems)
