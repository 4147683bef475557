"""Hard cuts of a video, counted by PySceneDetect's AdaptiveDetector with its default parameters: the paper's SCuts.

The detector is an optional dependency (the extra `evaluate`); without it nothing is counted, and `NOT_MEASURED` says
so. Knows frames only.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from core.model.evaluation.reader import Frames

NOT_MEASURED = (
    "Hard cuts are not measured: PySceneDetect is not installed. Install it with: pip install 'longtake[evaluate]'"
)


def can_count_cuts() -> bool:
    """Whether PySceneDetect and the OpenCV it needs are installed."""
    return _detector() is not None


def _detector() -> Any | None:
    """PySceneDetect, where it can be imported."""
    try:
        return importlib.import_module("scenedetect")
    except ImportError:
        return None


def count_cuts(frames_thwc: Frames, fps: float) -> int | None:
    """Cuts that the detector sees in RGB frames; None where it is not installed.

    The detector is fed frame by frame, so that no codec stands between the model and the measure; its own reader of
    files would hand it the same pixels, which are too small for it to shrink.
    """
    scenedetect = _detector()
    if scenedetect is None:
        return None
    detector = scenedetect.AdaptiveDetector()
    return sum(
        # The detector reads OpenCV's order, blue first.
        len(
            detector.process_frame(scenedetect.FrameTimecode(index, float(fps)), np.ascontiguousarray(frame[..., ::-1]))
        )
        for index, frame in enumerate(frames_thwc)
    )
