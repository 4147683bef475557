"""An engine for Longtake that zooms and pans over an input image or a whole input video. Needs no torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
from PIL import Image
from pydantic import Field

from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    Engine,
    EngineChunk,
    EngineState,
    FrameHWC,
    FramesTHWC,
    InputMedia,
    OnStep,
)
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import JobSpec
from core.service.engines.capabilities import Capabilities
from core.service.engines.definition import EngineDefinition, Parameters
from core.service.engines.load_context import LoadContext
from core.service.engines.preset import Preset
from core.service.engines.tokenizer import WordCounter
from core.service.media.crop import crop_and_resize

WINDOW_FRAMES = 25
DETAIL = 2
"""An image is kept at so many times the preset's size, so that zooming shows more of it."""
DIRECTIONS = {"centre": (0.5, 0.5), "left": (0.5, 0.0), "right": (0.5, 1.0), "up": (0.0, 0.5), "down": (1.0, 0.5)}
"""Where the view ends, as shares of the height and the width that it leaves free."""


class ZoomAndPanPreset(Preset):
    """preset.json: nothing beyond what every preset has."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(fields=("fps",), image=True, video="whole", needs_input=True)


class ZoomAndPanParameters(Parameters):
    """`parameters` of a request."""

    zoom: float = Field(default=1.5, ge=1, le=4, description="How much larger the last frame shows its part.")
    direction: Literal["centre", "left", "right", "up", "down"] = Field(
        default="centre", description="Where the view goes."
    )


class ZoomAndPan(Engine):
    """Makes windows of 25 frames. State: `image` (of jobs with one) and `surplus` (frames beyond the last chunk)."""

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width

    @property
    def fingerprint(self) -> str:
        return f"zoom_and_pan 1; pillow {PIL.__version__}"

    def start(self, spec: JobSpec, inputs: InputMedia) -> EngineState:
        del spec
        if inputs.image is None:
            return EngineState()
        image = crop_and_resize(Image.fromarray(inputs.image), DETAIL * self._height, DETAIL * self._width)
        return EngineState(0, {"image": image})

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        started = time.perf_counter()
        wanted = min(CHUNK_FRAMES, spec.length - state.frames_done)
        frames = state.arrays.get("surplus", np.zeros((0, self._height, self._width, 3), np.uint8))
        if len(frames) < wanted:
            window = self._window(spec, state, state.frames_done + len(frames), on_step, inputs)
            frames = np.concatenate([frames, window])
        arrays = {name: array for name, array in state.arrays.items() if name != "surplus"}
        after = EngineState(state.frames_done + wanted, {**arrays, "surplus": frames[wanted:]})
        return EngineChunk(frames[:wanted], after, {"draw": time.perf_counter() - started})

    def _window(self, spec: JobSpec, state: EngineState, first: int, on_step: OnStep, inputs: InputMedia) -> FramesTHWC:
        """25 frames from `first` on; one step for each."""
        frames = list[FrameHWC]()
        for step, index in enumerate(range(first, first + WINDOW_FRAMES)):
            on_step(step, WINDOW_FRAMES)
            source = state.arrays["image"] if inputs.video is None else _frame(inputs, index)
            frames.append(self._view(source, spec, index))
        return np.stack(frames)

    def _view(self, source: FrameHWC, spec: JobSpec, index: int) -> FrameHWC:
        """The part of `source` that frame `index` shows, at the preset's size."""
        parameters = ZoomAndPanParameters.model_validate(spec.parameters)
        progress = min(1.0, index / max(1, spec.length - 1))
        shown = 1 / (1 + (parameters.zoom - 1) * progress)
        height, width = source.shape[0] * shown, source.shape[1] * shown
        top, left = (0.5 + (end - 0.5) * progress for end in DIRECTIONS[parameters.direction])
        top, left = top * (source.shape[0] - height), left * (source.shape[1] - width)
        box = (left, top, left + width, top + height)
        size = (self._width, self._height)
        return np.asarray(Image.fromarray(source).resize(size, Image.Resampling.BICUBIC, box=box), dtype=np.uint8)


def _frame(inputs: InputMedia, index: int) -> FrameHWC:
    """Of the input video, whose last frame stands still where the last window is longer."""
    assert inputs.video is not None
    return inputs.video.read(min(index, inputs.video.num_frames - 1), 1)[0]


def load(context: LoadContext[ZoomAndPanPreset]) -> Engine:
    return ZoomAndPan(context.preset.height, context.preset.width)


ZOOM_AND_PAN = EngineDefinition(
    name="zoom_and_pan",
    preset=ZoomAndPanPreset,
    load=load,
    parameters=ZoomAndPanParameters,
    tokenizer=WordCounter,
    presets_dir=Path(__file__).parent / "presets",
)
