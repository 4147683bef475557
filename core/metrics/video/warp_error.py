"""All metrics of optical flow in one pass: the flow of each pair of frames is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.metrics.video.flow import OPENCV_MISSING
from core.metrics.video.frames import PUBLISHED_SIZE, resize_as_published, shape_like_before
from core.metrics.video.metric import Curve, Flow, FlowHW2
from core.metrics.video.moments import Moments
from core.metrics.video.seams import Borders, Seams
from core.metrics.video.trend import Trend, doublings
from core.metrics.video.warp import MAWE_CONSTANT, forward_warp, pair_error
from core.service.domain.engine import FrameHWC

_NAMES = (
    *("mawe_v1", "mawe_v2", "mawe_code", "ofs", "ofs_squared", "warp_error"),
    *("seam_score", "flow_std", "motion_drift"),
)

MOTION_FLOOR = 0.01
"""Mean length of the flow, pixels: what is below counts as this much in `motion_drift`."""


class WarpError:
    """MAWE in its three definitions, OFS, warp error, motion and seams.

    Frames are resized to `size` x `size` (frames.resize_as_published). For each pair of neighbouring frames, the flow
    from the first to the second; m_t and s_t: mean over its pixels of |flow| and of |flow|^2; e_t: the error of
    forward warping (warp.forward_warp, warp.pair_error).

    - `ofs`: mean over pairs of m_t; pixels of the measured size, from 0.
    - `ofs_squared`: mean over pairs of s_t; pixels squared, from 0.
    - `warp_error`: W, mean over pairs of e_t; grey levels squared, 0 to 65025.
    - `mawe_v1`: W / (9.5 * ofs) (arXiv 2403.14773v1).
    - `mawe_v2`: W / ofs_squared (2403.14773v2, appendix 12).
    - `mawe_code`: mean over pairs of e_t / (9.5 * m_t) (mawe.py of the published code). A mean of ratios: a single pair
      that nearly stands still makes it large.
    - `flow_std`, `seam_score`: seams.Seams.
    - `motion_drift`: log2 of the mean m_t of the last quarter over that of the first, either at least MOTION_FLOOR: 0
      for no drift, 1 for twice the motion, -1 for half. None if both are below.

    All three of MAWE are from 0, and no two of them compare. None where nothing moves, as they divide by the motion.
    The published numbers are of RAFT-large at 720x720: those of another flow or size compare with one another only. So
    a VideoMetrics has the values of one flow.
    """

    def __init__(self, flow: Flow | None, size: int | None = PUBLISHED_SIZE, borders: Borders | None = None) -> None:
        """`flow` None: there is none, nothing is measured. `size` None: frames as they are. `borders`: of windows."""
        self._flow, self._size, self._borders = flow, size, borders
        self._shape: tuple[int, ...] | None = None
        self._before: FrameHWC | None = None
        self._num_frames = self._num_still = self._num_all_holes = 0
        self._motion, self._error = Trend(first=1), Trend(first=1)
        self._squared, self._ratio = Moments(), Moments()
        self._seams = Seams(borders)

    def add(self, frame: FrameHWC) -> None:
        """Raises ValueError if its size is not that of the frames before, or if the flow is not finite."""
        self._shape = shape_like_before(frame, self._shape)
        if self._flow is not None:
            resized = resize_as_published(frame, self._size) if self._size is not None else frame
            if self._before is not None:
                self._add_pair(self._before, resized, self._flow)
            # The caller may reuse its array for the next frame.
            self._before = resized.copy() if resized is frame else resized
        self._num_frames += 1

    def _add_pair(self, first: FrameHWC, second: FrameHWC, flow: Flow) -> None:
        shifts = flow(first, second)
        motion, squared = _lengths(shifts)
        if not np.isfinite(squared):
            raise ValueError(f"The flow {flow.name} to frame {self._num_frames} is not finite.")
        warped = forward_warp(first, shifts)
        error = pair_error(second, warped)
        self._motion.add(motion)
        self._squared.add(squared)
        self._error.add(error)
        self._seams.add(self._num_frames, motion)
        self._num_all_holes += bool(warped.holes.all())
        if motion > 0:
            self._ratio.add(error / (MAWE_CONSTANT * motion))
        else:
            self._num_still += 1

    def values(self) -> Mapping[str, float | int | None]:
        ofs, error = self._motion.mean(), self._error.mean()
        if ofs is None or error is None:
            return dict.fromkeys(_NAMES)
        ofs_squared = self._squared.mean
        return {
            "mawe_v1": error / (MAWE_CONSTANT * ofs) if ofs > 0 else None,
            "mawe_v2": error / ofs_squared if ofs_squared > 0 else None,
            "mawe_code": None if self._num_still else self._ratio.mean,
            "ofs": ofs,
            "ofs_squared": ofs_squared,
            "warp_error": error,
            "seam_score": self._seams.score,
            "flow_std": self._seams.flow_std,
            "motion_drift": doublings(self._motion.quarters(), MOTION_FLOOR),
        }

    def curves(self) -> Mapping[str, Curve]:
        """Of `ofs` and `warp_error`: m_t and e_t, pair by pair."""
        if self._motion.mean() is None:
            return {}
        return {"ofs": self._motion.curve(), "warp_error": self._error.curve()}

    def notes(self) -> Sequence[str]:
        if self._flow is None:
            return [OPENCV_MISSING]
        ofs = self._motion.mean()
        if ofs is None:
            return ["Flow metrics need a video of two frames or more."]
        return [*self._notes_on_mawe(ofs), *self._notes_on_motion()]

    def _notes_on_mawe(self, ofs: float) -> list[str]:
        if ofs == 0:
            return ["MAWE divides by the motion, and nothing moves."]
        notes: list[str] = []
        if self._num_still:
            notes.append(
                f"MAWE (code) divides by the motion of each pair of frames, and nothing moves in {self._num_still} "
                f"of {self._num_frames - 1}."
            )
        if self._num_all_holes:
            notes.append(
                f"All pixels leave the frame in {self._num_all_holes} of {self._num_frames - 1} pairs of frames, whose "
                "warp error counts as 0, as published."
            )
        return notes

    def _notes_on_motion(self) -> list[str]:
        notes: list[str] = []
        if self._seams.reason is not None:
            notes.append(f"There is no seam score: {self._seams.reason}.")
        else:
            notes.append(f"The seam score is of borders {self._borders}.")
        quarters = self._motion.quarters()
        if quarters is None:
            notes.append("Motion drift needs a video of three frames or more.")
        elif max(quarters) < MOTION_FLOOR:
            notes.append("There is no motion drift: nothing moves in the first quarter nor in the last.")
        elif min(quarters) < MOTION_FLOOR:
            where = "first" if quarters[0] < MOTION_FLOOR else "last"
            notes.append(f"Nothing moves in the {where} quarter: motion drift takes it as {MOTION_FLOOR} pixels.")
        return notes


def _lengths(flow: FlowHW2) -> tuple[float, float]:
    """Mean over pixels of |flow| and of |flow|^2."""
    squares = flow[..., 0] ** 2 + flow[..., 1] ** 2
    return float(np.sqrt(squares).mean(dtype=np.float64)), float(squares.mean(dtype=np.float64))
