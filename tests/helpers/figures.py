"""Figures of a video that is right in every respect."""

from core.model.evaluation.metrics.block_flow import FlowFigures
from core.model.evaluation.metrics.measurements import Measured
from core.model.evaluation.metrics.video_figures import VideoFigures
from core.model.evaluation.metrics.vision_tower import TowerFigures

PERFECT = Measured(
    VideoFigures(2, True, True, True, True, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    FlowFigures(1.0, 0.0),
    cuts=0,
    tower=TowerFigures(1.0, 0.0, 1.0, 1.0),
)
