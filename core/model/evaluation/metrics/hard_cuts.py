"""Hard cuts, counted by PySceneDetect's AdaptiveDetector with default parameters (SCuts of arXiv 2403.14773).

The detector is an optional dependency (the extra `evaluate`); without it reports contain the note NOT_MEASURED.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from core.service.domain.engine import FramesTHWC

NOT_MEASURED = (
    "Hard cuts are not measured: PySceneDetect is not installed. Install it with: pip install 'longtake[evaluate]'"
)


def can_count_cuts() -> bool:
    """Whether PySceneDetect and the OpenCV it needs are installed."""
    return _detector() is not None


def _detector() -> Any | None:
    """The PySceneDetect module, or None."""
    try:
        return importlib.import_module("scenedetect")
    except ImportError:
        return None


def count_cuts(frames_thwc: FramesTHWC, fps: float) -> int | None:
    """Number of cuts in RGB frames; None if the detector is not installed.

    Frames are passed to the detector directly, so that no codec affects the result.
    """
    scenedetect = _detector()
    if scenedetect is None:
        return None
    detector = scenedetect.AdaptiveDetector()
    return sum(
        # The detector expects OpenCV's channel order, BGR.
        len(
            detector.process_frame(scenedetect.FrameTimecode(index, float(fps)), np.ascontiguousarray(frame[..., ::-1]))
        )
        for index, frame in enumerate(frames_thwc)
    )
