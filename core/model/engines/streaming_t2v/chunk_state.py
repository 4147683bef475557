"""The engine state after a chunk; see engine.py for its arrays.

Shapes: F frames, P, R picture rows and columns.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.model.sampling.device import DeviceTimer
from core.service.domain.engine import EngineChunk, EngineState, FramesTHWC
from core.service.domain.frame_plan import CHUNK_FRAMES, CONDITIONING_FRAMES
from core.service.domain.schema import JobSpec


def chunk_name(state: EngineState) -> str:
    """Name of the chunk that follows a state, for errors."""
    return f"chunk {state.frames_done // CHUNK_FRAMES}"


def with_history(state: EngineState, pictures_F3PR: Tensor) -> EngineState:
    """The state after the first chunk: anchor and conditioning frames replace the input media."""
    arrays = {name: array for name, array in state.arrays.items() if not name.startswith("given_")}
    history = {
        "anchor_frame": as_float_array(pictures_F3PR[0]),
        "conditioning_frames": as_float_array(pictures_F3PR[-CONDITIONING_FRAMES:]),
    }
    return EngineState(state.frames_done, {**arrays, **history})


def finished_chunk(frames: FramesTHWC, spec: JobSpec, state: EngineState, watch: DeviceTimer) -> EngineChunk:
    """The chunk with the frames that it needs; the others become surplus frames in its state."""
    wanted = min(CHUNK_FRAMES, spec.length - state.frames_done)
    arrays: Mapping[str, NDArray[Any]] = {k: v for k, v in state.arrays.items() if k != "surplus_frames"}
    if len(frames) > wanted:
        arrays = {**arrays, "surplus_frames": frames[wanted:]}
    return EngineChunk(frames[:wanted], EngineState(state.frames_done + wanted, arrays), dict(watch.seconds))


def as_float_array(pictures: Tensor) -> NDArray[np.float32]:
    """Pictures as a float32 array for the state."""
    array: NDArray[np.float32] = pictures.float().cpu().contiguous().numpy()
    return array
