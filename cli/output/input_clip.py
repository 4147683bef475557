"""Frames of the clip that a job followed or edited, as its engine saw them, for the contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.service.domain.engine import FramesTHWC
from core.service.domain.schema import JobSpec
from core.service.media.video import DecodeLimits, sampled_frames


@dataclass(frozen=True)
class InputClip:
    """A video file of this machine, and the limits on reading it."""

    path: Path
    limits: DecodeLimits

    def frames_for(self, spec: JobSpec, made: FramesTHWC) -> FramesTHWC:
        """The frames from which these were made: as many, at their size and rate. Raises MediaError."""
        num_frames, height, width = made.shape[:3]
        frames = sampled_frames(
            self.path,
            fps=spec.fps,
            height=height,
            width=width,
            most_frames=num_frames,
            limits=self.limits,
            tick=lambda: None,
        )
        return np.stack(list(frames))
