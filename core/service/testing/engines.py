"""An engine and a refiner that draw simple shapes, without torch: for tests, and to try the service on any machine."""

from __future__ import annotations

import hashlib
import time
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    Engine,
    EngineChunk,
    EngineState,
    FrameHWC,
    FrameReader,
    FramesTHWC,
    InputMedia,
    OnStep,
)
from core.service.domain.frame_plan import CHUNK_FRAMES, ChunkSpan, chunk_span, published_with, refinement_window
from core.service.domain.prompt_schedule import easing, prompts_of_window
from core.service.domain.refine_plan import refine_spec
from core.service.domain.refiner import RefinedWindow, RefineEngine, RefineState
from core.service.domain.schema import JobSpec
from core.service.media.crop import crop_and_resize


class FakeEngine(Engine):
    """A square that bounces over a grey field or over the input media; over each frame of a whole or control video. The
    prompt in force gives its colour, the seed its start.

    The state holds the position of the square, so a chunk made from the wrong state is visibly wrong. `step_seconds` is
    the duration of each step.
    """

    def __init__(
        self,
        *,
        steps_per_chunk: int = 4,
        step_seconds: float = 0.0,
        height: int = 64,
        width: int = 64,
        fingerprint: str = "fake-engine-1",
    ) -> None:
        self._steps = steps_per_chunk
        self._step_seconds = step_seconds
        self._height, self._width = height, width
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def start(self, spec: JobSpec, inputs: InputMedia) -> EngineState:
        """The background is the input image, or the last frame of the input video."""
        arrays: dict[str, NDArray[Any]] = {"phase": np.asarray([spec.seed % 997], dtype=np.int64)}
        if inputs.image is not None:
            arrays["field"] = crop_and_resize(Image.fromarray(inputs.image), *self._size(spec))
        if inputs.frames is not None:
            arrays |= {"given_frames": inputs.frames, "field": inputs.frames[-1]}
        return EngineState(0, arrays)

    def reseeded(self, state: EngineState, seed: int) -> EngineState:
        return EngineState(state.frames_done, {**state.arrays, "phase": np.asarray([seed % 997], dtype=np.int64)})

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        started = time.perf_counter()
        arrays = dict(state.arrays)
        frames = arrays.pop("given_frames", None)
        if frames is None:
            frames = self._draw(spec, state, on_step, inputs.video)
            arrays["phase"] = arrays["phase"] + 2 * len(frames)
        after = EngineState(state.frames_done + len(frames), arrays)
        return EngineChunk(frames, after, {"denoise": time.perf_counter() - started})

    def _size(self, spec: JobSpec) -> tuple[int, int]:
        return spec.height or self._height, spec.width or self._width

    def _draw(self, spec: JobSpec, state: EngineState, on_step: OnStep, video: FrameReader | None) -> FramesTHWC:
        for step in range(self._steps):
            on_step(step, self._steps)
            time.sleep(self._step_seconds)
        span = chunk_span(state.frames_done // CHUNK_FRAMES, spec.length)
        phase = int(state.arrays["phase"][0])
        field = state.arrays.get("field", np.full((*self._size(spec), 3), 96, dtype=np.uint8))
        fields = repeat(field, span.num_frames) if video is None else video.read(span.first_frame, span.num_frames)
        colours = _colours(spec, span)
        return np.stack([_frame(colours[t], phase + 2 * t, field) for t, field in enumerate(fields)])


class FakeRefineEngine(RefineEngine):
    """Frames at the refined size; a white bar along the top, as long as the windows or steps done before.

    A window made from the wrong state is visibly wrong. `step_seconds` is the duration of each step.
    """

    def __init__(self, *, step_seconds: float = 0.0, fingerprint: str = "fake-refiner-1") -> None:
        self._step_seconds = step_seconds
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        started = time.perf_counter()
        window = refinement_window(state.done, spec.length)
        published = published_with(window, spec.length)
        assert len(frames) == window.num_frames, f"window {window} got {len(frames)} frames"
        for step in range(_refine_steps(spec)):
            on_step(step, _refine_steps(spec))
            time.sleep(self._step_seconds)
        own = frames[published.start - window.first_frame : published.stop - window.first_frame]
        before = int(state.arrays["windows"][0]) if state.done else 0
        after = RefineState(state.done + 1, {"windows": np.asarray([before + 1], dtype=np.int64)})
        return RefinedWindow(_enlarged(spec, own, before), after, {"denoise": time.perf_counter() - started})

    def start_lockstep(self, spec: JobSpec, frames: FramesTHWC) -> RefineState:
        assert len(frames) == spec.length, f"{len(frames)} frames of {spec.length}"
        return RefineState(0, {"frames": frames, "steps": np.asarray([0], dtype=np.int64)})

    def step_lockstep(self, spec: JobSpec, state: RefineState, on_step: OnStep) -> RefineState:
        on_step(state.done, _refine_steps(spec))
        time.sleep(self._step_seconds)
        return RefineState(state.done + 1, {**state.arrays, "steps": state.arrays["steps"] + 1})

    def finish_lockstep(self, spec: JobSpec, state: RefineState, frames: range) -> FramesTHWC:
        previews = state.arrays["frames"][frames.start : frames.stop]
        return _enlarged(spec, previews, int(state.arrays["steps"][0]))


def _frame(colour: NDArray[np.uint8], phase: int, field: FrameHWC) -> FrameHWC:
    """One frame: the square moves back and forth along both axes, with different periods."""
    height, width = field.shape[:2]
    side = height // 4
    top, left = _bounce(phase, height - side), _bounce(phase * 3 // 2, width - side)
    frame = field.copy()
    frame[top : top + side, left : left + side] = colour
    return frame


def _colours(spec: JobSpec, span: ChunkSpan) -> NDArray[np.uint8]:
    """The square's colour in each frame of a chunk, which is this engine's window."""
    before = max(0, span.first_frame - CHUNK_FRAMES)
    old, new = (spec.prompt,) * 2 if span.index == 0 else prompts_of_window(spec, span.first_frame, before)
    shares = np.asarray(easing(CHUNK_FRAMES))[: span.num_frames, None]
    return np.round(_colour(old) + shares * (_colour(new) - _colour(old))).astype(np.uint8)


def _colour(prompt: str) -> NDArray[np.float64]:
    return np.frombuffer(hashlib.sha256(prompt.encode()).digest()[:3], dtype=np.uint8).astype(np.float64)


def _refine_steps(spec: JobSpec) -> int:
    return refine_spec(spec).num_inference_steps


def _enlarged(spec: JobSpec, frames: FramesTHWC, bar_length: int) -> FramesTHWC:
    """The frames at the refined size, nearest pixels, with a bar of 4 pixels per window or step done."""
    refine, (height, width) = refine_spec(spec), frames.shape[1:3]
    rows = np.arange(refine.height) * height // refine.height
    columns = np.arange(refine.width) * width // refine.width
    enlarged = frames[:, rows][:, :, columns]
    enlarged[:, :4, : 4 * bar_length] = 255
    return enlarged


def _bounce(phase: int, span: int) -> int:
    """Triangle wave over 0..span."""
    return span - abs(phase % (2 * span) - span)
