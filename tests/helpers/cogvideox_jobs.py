"""Jobs of the small CogVideoX, their input media, and a run of the engine over them."""

from collections.abc import Generator
from typing import Any

import numpy as np

from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    Engine,
    EngineChunk,
    EngineState,
    FramesTHWC,
    InputMedia,
    OnStep,
    ignore_step,
)
from core.service.domain.schema import JobSpec
from tests.helpers.jobs import job_spec
from tests.helpers.pipelines_cogvideox import SIDE

PROMPT, NEGATIVE = "a red square", "blue"


def spec_of(**changes: Any) -> JobSpec:
    values = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "guidance_scale": 6.0, "num_inference_steps": 2}
    own = {"profile": None, "first_chunk": None, "parameters": {"strength": 0.8}}
    return job_spec(**{**values, **own, **changes})


def noise(num_frames: int, height: int = SIDE, width: int = SIDE) -> FramesTHWC:
    return np.random.default_rng(5).integers(0, 256, (num_frames, height, width, 3), np.uint8)


PICTURE = InputMedia(image=noise(1, 40, 50)[0])


class Frames:
    """A FrameReader over frames in memory."""

    def __init__(self, frames: FramesTHWC) -> None:
        self._frames = frames
        self.num_frames, self.height, self.width = frames.shape[:3]

    def read(self, start: int, count: int) -> FramesTHWC:
        assert start >= 0
        assert start + count <= self.num_frames
        return self._frames[start : start + count]


def chunks(
    engine: Engine, spec: JobSpec, inputs: InputMedia = NO_INPUT_MEDIA, on_step: OnStep = ignore_step
) -> Generator[EngineChunk]:
    """All chunks of a job."""
    state = engine.start(spec, inputs)
    while state.frames_done < spec.length:
        chunk = engine.next_chunk(spec, state, on_step, inputs)
        state = chunk.state
        yield chunk


def frames_of(engine: Engine, spec: JobSpec, inputs: InputMedia = NO_INPUT_MEDIA) -> FramesTHWC:
    return np.concatenate([chunk.frames for chunk in chunks(engine, spec, inputs)])


def stored(state: EngineState) -> EngineState:
    """As another worker reads it."""
    return EngineState.from_bytes(state.to_bytes())
