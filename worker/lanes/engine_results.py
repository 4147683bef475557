"""Checks what an engine returned, which may be a third party's, and packs what is stored beside a chunk."""

from __future__ import annotations

from typing import cast

import numpy as np
from safetensors import SafetensorError

from core.service.domain.engine import EngineChunk, EngineState, FramesTHWC, pack
from core.service.domain.errors import InvalidChunk
from core.service.domain.frame_plan import ChunkSpan
from core.service.domain.manifest import frames_key, state_key
from core.service.domain.schema import JobRecord
from worker.lanes.server_access import STATE_TYPE, NewObject

FIRST_FRAME = "first_frame"
"""Name of the counter in an object of exact frames; the frames themselves are `frames`."""


def problem_of(made: object, span: ChunkSpan) -> str | None:
    """What is wrong with an engine's chunk, for messages. Type and size of the frames are checked by the encoder."""
    if not isinstance(made, EngineChunk):
        return f"{type(made).__name__} instead of an EngineChunk"
    if not isinstance(cast("object", made.frames), np.ndarray):
        return "frames that are no numpy array"
    if len(made.frames) != span.num_frames:
        return f"{len(made.frames)} frames instead of {span.num_frames}"
    return problem_of_state(made.state, span.first_frame + span.num_frames)


def problem_of_state(state: object, frames_done: int) -> str | None:
    if not isinstance(state, EngineState):
        return f"{type(state).__name__} instead of an EngineState"
    if state.frames_done != frames_done:
        return f"a state with frames_done {state.frames_done} instead of {frames_done}"
    return None


def _state_bytes(state: EngineState) -> bytes:
    """Raises InvalidChunk for arrays that safetensors cannot store."""
    try:
        return state.to_bytes()
    except (SafetensorError, TypeError, ValueError) as error:
        raise InvalidChunk(f"the engine returned a state that cannot be stored: {error}") from error


def for_later(
    record: JobRecord, span: ChunkSpan, frames: FramesTHWC, state: EngineState, generation: int
) -> list[NewObject]:
    """What the next chunk needs and, if the job is refined, the refiner: the exact frames."""
    state_object = NewObject(state_key(record.id, span.index, generation), _state_bytes(state), STATE_TYPE)
    if record.spec.refine is None:
        return [state_object]
    exact = pack({"frames": frames}, FIRST_FRAME, span.first_frame)
    return [state_object, NewObject(frames_key(record.id, span.index, generation), exact, STATE_TYPE)]
