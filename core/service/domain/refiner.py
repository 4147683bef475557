"""The port between the service and the refiner: frames of a window in, refined frames out, from a small state.

Torch-free. Streaming refines window after window, each from the state that the one before left; lockstep takes one step
of all windows at a time. Which frames a window covers and publishes follows from frame_plan.refinement_windows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from core.service.domain.engine import BaseEngine, FramesTHWC, OnStep, pack, unpack
from core.service.domain.schema import JobSpec


@dataclass(frozen=True)
class RefineState:
    """What the next piece of refinement needs of those before: `done` windows (streaming) or steps (lockstep)."""

    done: int = 0
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=lambda: {})

    def to_bytes(self) -> bytes:
        """Serialise as safetensors: equal states give equal bytes."""
        return pack(self.arrays, "done", self.done)

    @staticmethod
    def from_bytes(data: bytes) -> RefineState:
        """Inverse of `to_bytes`. Raises safetensors.SafetensorError on damaged bytes."""
        arrays, done = unpack(data, "done")
        return RefineState(done, arrays)


@dataclass(frozen=True)
class RefinedWindow:
    """The frames that a window publishes, uint8 at the refined size, the state after it, and seconds by phase."""

    frames: FramesTHWC
    state: RefineState
    timings: Mapping[str, float]


class RefineEngine(BaseEngine):
    """Refines videos. Deterministic: the same spec, frames and state give the same bytes."""

    @abstractmethod
    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        """Streaming: the window after those done. `frames` are all preview frames of that window, exact.

        Raises errors.Interrupted when `on_step` does, and errors.NotFinite as engines do (core.service.domain.engine).
        """

    @abstractmethod
    def start_lockstep(self, spec: JobSpec, frames: FramesTHWC) -> RefineState:
        """Lockstep: the state before step 0, made of all preview frames."""

    @abstractmethod
    def step_lockstep(self, spec: JobSpec, state: RefineState, on_step: OnStep) -> RefineState:
        """One denoising step of all windows.

        `on_step` is called with the same (step, steps) before every few windows, so that a stop need not wait for all
        of them. Raises errors.Interrupted when `on_step` does, and errors.NotFinite as engines do.
        """

    @abstractmethod
    def finish_lockstep(self, spec: JobSpec, state: RefineState, frames: range) -> FramesTHWC:
        """Refined frames, uint8, after the last step; any range of the video."""
