"""All figures of one video of the sprites world: arithmetic ones, flow, hard cuts, and the vision tower's."""

from __future__ import annotations

from dataclasses import dataclass

from core.model.evaluation.metrics.block_flow import FlowFigures, flow_figures
from core.model.evaluation.metrics.hard_cuts import count_cuts
from core.model.evaluation.metrics.video_figures import VideoFigures, measure
from core.model.evaluation.metrics.vision_tower import TowerFigures, VisionTower
from core.model.training.sprites import captions, world
from core.service.domain.engine import FramesTHWC


@dataclass(frozen=True)
class Measured:
    """All figures of one video."""

    video: VideoFigures
    flow: FlowFigures
    cuts: int | None
    """None if the detector is not installed."""
    tower: TowerFigures


@dataclass(frozen=True)
class Measurer:
    """Measures videos of the sprites world."""

    tower: VisionTower

    def __call__(self, frames_thwc: FramesTHWC, scene: world.Scene) -> Measured:
        """All figures of a video that should show `scene`."""
        return Measured(
            video=measure(frames_thwc, scene),
            flow=flow_figures(frames_thwc),
            cuts=count_cuts(frames_thwc, world.FPS),
            tower=self.tower.measure(frames_thwc, captions.plain_caption(scene)),
        )
