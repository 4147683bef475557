"""Everything that is measured on one video, whatever measures it: arithmetic, the cut detector, the vision tower.

Knows frames and the scene that they should show; makes no video.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.model.evaluation.block_flow import FlowFigures, flow_figures
from core.model.evaluation.figures import VideoFigures, measure
from core.model.evaluation.hard_cuts import count_cuts
from core.model.evaluation.reader import Frames
from core.model.evaluation.vision_tower import Tower, TowerFigures
from core.model.training import captions, sprites


@dataclass(frozen=True)
class Measured:
    """One video."""

    video: VideoFigures
    flow: FlowFigures
    cuts: int | None
    """None where the detector is not installed."""
    tower: TowerFigures


@dataclass(frozen=True)
class Measurer:
    """Measures videos of the sprites world."""

    tower: Tower

    def __call__(self, frames_thwc: Frames, scene: sprites.Scene) -> Measured:
        """All figures of a video that should show `scene`."""
        return Measured(
            video=measure(frames_thwc, scene),
            flow=flow_figures(frames_thwc),
            cuts=count_cuts(frames_thwc, sprites.FPS),
            tower=self.tower.measure(frames_thwc, captions.plain_caption(scene)),
        )
