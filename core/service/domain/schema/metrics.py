"""What was measured of a job's videos: stored as one object beside them, and read by clients as it is."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from core.service.domain.schema.base import Stored
from core.service.domain.schema.request import Variant


class MetricValue(Stored):
    """One value with what its reader must know."""

    value: int | float | None = Field(description="null: it says nothing of this video; `notes` has the reason.")
    title: str = Field(examples=["Hard cuts"])
    meaning: str = Field(description="One sentence, with the unit.")
    better: Literal["lower", "higher"] | None = Field(default=None, description="null: neither is better.")
    source: str = Field(default="", description="Paper section, program or RFC.")
    decimals: int = Field(default=3, description="Digits after the point that are worth showing.")


class MetricCurve(Stored):
    """A value over the frames of a video: its mean over each `step` frames, at most about 500 of them."""

    step: int
    values: tuple[float | None, ...]
    first: int = Field(
        default=0, description="Frame of the first value: 1 where a value is of a frame and the one before."
    )


class MeasuredVideo(Stored):
    """All that was measured of one video."""

    num_frames: int
    flow: str | None = Field(
        default=None, description="Name of the optical flow of all values that use one. Those of others do not compare."
    )
    values: dict[str, MetricValue]
    curves: dict[str, MetricCurve] = Field(description="By the name of the value that they show over time.")
    notes: tuple[str, ...] = ()


class JobMetrics(Stored):
    """Answer of GET /jobs/{id}/metrics."""

    job_id: str
    generation: int = Field(description="Of the job whose final video this was.")
    measured_at: datetime
    version: str = Field(description="The Longtake that measured: numbers of two versions may differ.")
    videos: dict[Variant, MeasuredVideo] = Field(description="By variant: preview, and refined if there is one.")
