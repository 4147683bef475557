"""Edges of frames, as the ControlNets of type canny read them: in training, in samples and in videos.

Shapes: F frames, P, R picture rows and columns.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from core.service.domain.engine import FramesTHWC

_THRESHOLDS = (100, 200)
"""As published for ControlNet's canny model."""


def canny_edges(frames_FPR3: FramesTHWC) -> NDArray[np.uint8]:
    """Edges [F, P, R], 0 or 255, of uint8 frames [F, P, R, 3]."""
    frames = [cv2.Canny(frame, *_THRESHOLDS) for frame in np.ascontiguousarray(frames_FPR3)]
    return np.stack(frames).astype(np.uint8, copy=False)
