"""The metrics that need no network."""

from __future__ import annotations

from core.metrics.video.cuts import HardCuts
from core.metrics.video.drift import Drift
from core.metrics.video.flow import dis_flow
from core.metrics.video.frames import PUBLISHED_SIZE
from core.metrics.video.metric import Metric
from core.metrics.video.seams import Borders
from core.metrics.video.warp_error import WarpError


def cheap_metrics(fps: float, size: int | None = PUBLISHED_SIZE, borders: Borders | None = None) -> list[Metric]:
    """For one video: hard cuts, MAWE and motion by the flow `dis` (flow.DIS), drift and repeated frames.

    `size`: of frames whose flow is measured, None as they are. `borders`: where windows begin, for the seam score.
    Without OpenCV or PySceneDetect their values are None, and a note says what to install. Values may be asked at any
    time, and are of the frames so far: prefixes of a video need no second pass.
    """
    return [HardCuts(fps), WarpError(dis_flow(), size, borders), Drift()]
