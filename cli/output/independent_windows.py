"""A video refined without anything against seams: every window by itself, with noise of its own, cut and put together.

Nobody wants such a video. Beside ours it shows what shared noise and blending are for. Knows the refiner by its port.
"""

from __future__ import annotations

import numpy as np

from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.frame_plan import refinement_windows, unblended, within
from core.service.domain.refiner import RefineEngine, RefineState
from core.service.domain.schema import MAX_SEED, JobSpec


def refine_apart(refiner: RefineEngine, spec: JobSpec, frames: FramesTHWC) -> FramesTHWC:
    """All refined frames. `frames` are the preview's; `spec` is the job's, whose seed no window has.

    To the refiner each window is a whole video, so nothing of it but the port is needed.
    """
    windows = refinement_windows(spec.num_frames)
    parts = list[FramesTHWC]()
    for window in windows:
        seed = (spec.seed + 1 + window.index) % MAX_SEED
        alone = spec.model_copy(update={"num_frames": window.num_frames, "seed": seed})
        given = frames[window.first_frame : window.end_frame]
        refined = refiner.refine_window(alone, RefineState(), given, ignore_step).frames
        parts.append(refined[within(window, unblended(windows, window.index))])
    return np.concatenate(parts)
