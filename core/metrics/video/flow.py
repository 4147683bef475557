"""Optical flow without a network: DIS of OpenCV."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from core.metrics.video.metric import FlowHW2
from core.service.domain.engine import FrameHWC

DIS = "dis"
"""The name of DisFlow."""

OPENCV_MISSING = (
    "Flow metrics are not measured: OpenCV is not installed. Install it with: pip install 'longtake[evaluate]'"
)
_LEAST_SIDE = 16
"""Pixels. OpenCV refuses frames whose sides are both below 12."""


def dis_flow() -> DisFlow | None:
    """None where OpenCV is not installed (the extras `evaluate` and `model` bring it)."""
    try:
        return DisFlow()
    except ImportError:
        return None


class DisFlow:
    """Dense Inverse Search (Kroeger et al., ECCV 2016) as in OpenCV, preset MEDIUM, on brightness (Rec. 601).

    Shifts by 0.5 to 40 pixels of a 720x720 picture are found to 1 %; much larger ones are not. Equal frames have flow
    0. The same flow for any number of threads. Frames below 16 pixels are continued by their last row and column.
    """

    name = DIS

    def __init__(self) -> None:
        """Raises ImportError without OpenCV."""
        self._cv2: Any = importlib.import_module("cv2")
        self._dis: Any = self._cv2.DISOpticalFlow_create(self._cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, first: FrameHWC, second: FrameHWC) -> FlowHW2:
        """Raises ValueError if the frames are not of one size."""
        if first.shape != second.shape:
            raise ValueError(f"Flow needs two frames of one size, not {first.shape} and {second.shape}.")
        height, width = first.shape[:2]
        flow: FlowHW2 = self._dis.calc(self._grey(first), self._grey(second), None)
        return np.ascontiguousarray(flow[:height, :width])

    def _grey(self, frame: FrameHWC) -> Any:
        grey = self._cv2.cvtColor(np.ascontiguousarray(frame), self._cv2.COLOR_RGB2GRAY)
        below, right = (max(0, _LEAST_SIDE - side) for side in grey.shape)
        if not below and not right:
            return grey
        return self._cv2.copyMakeBorder(grey, 0, below, 0, right, self._cv2.BORDER_REPLICATE)
