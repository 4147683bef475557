"""Hard cuts, counted by PySceneDetect's AdaptiveDetector with default parameters (SCuts of arXiv 2403.14773).

The detector is an optional dependency (the extra `evaluate`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.metrics.video.frames import shape_like_before
from core.metrics.video.metric import Curve
from core.service.domain.engine import FrameHWC

NOT_MEASURED = (
    "Hard cuts are not measured: PySceneDetect is not installed. Install it with: pip install 'longtake[evaluate]'"
)


def can_count_cuts() -> bool:
    """Whether PySceneDetect and the OpenCV it needs are installed."""
    return _scenedetect() is not None


def _scenedetect() -> Any | None:
    """The PySceneDetect module, or None."""
    try:
        return importlib.import_module("scenedetect")
    except ImportError:
        return None


class HardCuts:
    """`scuts`: the number of hard cuts; from 0, no unit. None without PySceneDetect.

    A frame is a cut where the mean change of hue, saturation and brightness is at least 15 (of 255) and 3 times that of
    the two pairs of frames before and after it, 15 frames or more after the last cut: the detector's defaults. So the
    first 15 frames and the last two have none. Frames are passed in memory, so that no codec
    affects the result. As in PySceneDetect's own `detect` and command, those whose longer side is above 256 pixels are
    made smaller first, to 256.
    """

    def __init__(self, fps: float) -> None:
        """`fps` only turns frame numbers into the detector's times. Raises ValueError if it is not above 0."""
        if not fps > 0:
            raise ValueError(f"Frames per second are above 0, not {fps}.")
        self._fps = float(fps)
        self._scenedetect = _scenedetect()
        self._detector: Any = None if self._scenedetect is None else self._scenedetect.AdaptiveDetector()
        self._manager: Any = None if self._scenedetect is None else self._scenedetect.scene_manager
        self._shape: tuple[int, ...] | None = None
        self._num_frames = self._num_cuts = 0

    def add(self, frame: FrameHWC) -> None:
        """Raises ValueError if its size is not that of the frames before."""
        self._shape = shape_like_before(frame, self._shape)
        if self._scenedetect is not None:
            time = self._scenedetect.FrameTimecode(self._num_frames, self._fps)
            self._num_cuts += len(self._detector.process_frame(time, self._as_detect_reads(frame)))
        self._num_frames += 1

    def _as_detect_reads(self, frame: FrameHWC) -> FrameHWC:
        """The frame in OpenCV's channel order, BGR, made smaller as by PySceneDetect's SceneManager."""
        bgr = np.ascontiguousarray(frame[..., ::-1])
        height, width = frame.shape[:2]
        factor = self._manager.compute_downscale_factor(max(height, width))
        if factor <= 1:
            return bgr
        cv2 = importlib.import_module("cv2")
        smaller = (max(1, round(width / factor)), max(1, round(height / factor)))
        return cv2.resize(bgr, smaller, interpolation=cv2.INTER_LINEAR)

    def values(self) -> Mapping[str, float | int | None]:
        return {"scuts": None if self._scenedetect is None else self._num_cuts}

    def curves(self) -> Mapping[str, Curve]:
        return {}

    def notes(self) -> Sequence[str]:
        return [NOT_MEASURED] if self._scenedetect is None else []
