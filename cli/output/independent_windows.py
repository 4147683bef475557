"""Refinement without shared noise and blending: every window by itself, with its own noise, then concatenated.

Only for comparison: it shows the seams that shared noise and blending remove.
"""

from __future__ import annotations

import numpy as np

from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.frame_plan import refinement_windows, unblended, within
from core.service.domain.refiner import RefineEngine, RefineState
from core.service.domain.schema import MAX_SEED, JobSpec


def refine_independently(refiner: RefineEngine, spec: JobSpec, frames: FramesTHWC) -> FramesTHWC:
    """Refine each window as if it were a whole video, with a seed of its own.

    `frames` are all frames of the preview, uint8 THWC. Returns as many frames in the refined size.
    """
    windows = refinement_windows(spec.length)
    parts = list[FramesTHWC]()
    for window in windows:
        seed = (spec.seed + 1 + window.index) % MAX_SEED
        alone = spec.model_copy(update={"num_frames": window.num_frames, "seed": seed})
        preview = frames[window.first_frame : window.end_frame]
        refined = refiner.refine_window(alone, RefineState(), preview, ignore_step).frames
        parts.append(refined[within(window, unblended(windows, window.index))])
    return np.concatenate(parts)
