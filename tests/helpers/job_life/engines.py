"""Fakes of the engine, the refiner and the measuring, which fail where they are told to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, FramesTHWC, InputMedia, OnStep
from core.service.domain.refiner import RefinedWindow, RefineState
from core.service.domain.schema import JobSpec, MeasuredVideo
from core.service.testing.engines import FakeEngine, FakeRefineEngine
from tests.helpers.job_life.jobs import SIDE
from worker.measuring.child import Measured
from worker.measuring.request import MeasureRequest


class FaultyEngine(FakeEngine):
    """Fails once a chunk is made, where `fail_if_due` raises."""

    def __init__(self, fail_if_due: Callable[[JobSpec], None] | None = None) -> None:
        super().__init__(steps_per_chunk=1, height=SIDE, width=SIDE)
        self._fail_if_due = fail_if_due

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        made = super().next_chunk(spec, state, on_step, inputs)
        if self._fail_if_due is not None:
            self._fail_if_due(spec)
        return made


class FaultyRefineEngine(FakeRefineEngine):
    """The same for windows and steps of the refiner."""

    def __init__(self, fail_if_due: Callable[[JobSpec], None]) -> None:
        super().__init__()
        self._fail_if_due = fail_if_due

    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        self._fail_if_due(spec)
        return super().refine_window(spec, state, frames, on_step)

    def step_lockstep(self, spec: JobSpec, state: RefineState, on_step: OnStep) -> RefineState:
        self._fail_if_due(spec)
        return super().step_lockstep(spec, state, on_step)


class FaultyMeasure:
    """A Measure whose values are the sums of what it was given. Fails where it is told to."""

    def __init__(self, fail_if_due: Callable[[], None]) -> None:
        self._fail_if_due = fail_if_due

    def __call__(self, request: MeasureRequest, check: Callable[[], None]) -> Measured:
        check()
        self._fail_if_due()
        return {variant: measured_of(file.read_bytes()) for variant, file in request.videos.items()}


def measured_of(video: bytes) -> MeasuredVideo:
    """What FaultyMeasure says of a video."""
    return MeasuredVideo(num_frames=1, flow="dis", values={}, curves={}, notes=(hashlib.sha256(video).hexdigest(),))
