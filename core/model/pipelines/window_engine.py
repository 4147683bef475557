"""The chunk loop of engines with windows of their own length: frames beyond a chunk wait in the state as latents.

Shapes: F frames, P, R picture rows and columns.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.pipelines.placed_engine import PlacedEngine
from core.model.sampling.device import DeviceTimer
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.lru_cache import LruCache
from core.model.sampling.noise import restored, seeded, state_of
from core.model.sampling.progress import count_over_windows
from core.model.sampling.vae import to_uint8
from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    EngineChunk,
    EngineState,
    FramesTHWC,
    InputMedia,
    OnStep,
)
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import JobSpec
from core.service.engines.capabilities import WindowLengths

GENERATOR, WINDOW, WINDOW_END = "generator", "window", "window_end"
"""Arrays of the state: the CPU generator; latents of the newest window while some of its frames wait; the index of the
frame after its last one."""
_DECODED_WINDOWS = 4

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class WindowRequest:
    """The next window of a job."""

    spec: JobSpec
    first_frame: int
    """Index in the video of its first new frame; 0 for the first window."""
    arrays: Arrays
    """What `start_arrays` or the window before left."""
    generator: torch.Generator
    """Advanced by the window: the only source of randomness."""
    inputs: InputMedia
    name: str
    """For errors.NotFinite, such as "chunk 3"."""
    newest: NDArray[Any] | None = None
    """Latents of the window before, of engines that keep them."""


@dataclass(frozen=True)
class Window:
    """A denoised window: its latents as the state keeps them, and what the next window needs."""

    latents: NDArray[Any]
    """float16, or the uint16 of bfloat16's bits. Frames are decoded from these, so that a resumed job has the same."""
    arrays: Arrays
    num_new_frames: int
    """Its last frames; those before repeat the past."""


class WindowEngine(PlacedEngine):
    """next_chunk for engines that make windows. Subclasses make one window and decode it.

    The next window may begin before all frames of the newest are delivered: only what `Window.arrays` has is used, and
    the newest window's latents if the engine keeps them.
    """

    keeps_newest = False
    """Whether the newest window stays in the state when its frames are delivered, for the next one to read."""

    def __init__(self, device: torch.device, fingerprint: str, windows: WindowLengths) -> None:
        """`windows`: the lengths of its windows, for all requests."""
        super().__init__(device, fingerprint)
        self._windows = windows
        self._decoded: LruCache[bytes, FramesTHWC] = LruCache(_DECODED_WINDOWS)

    @abstractmethod
    def start_arrays(self, spec: JobSpec, inputs: InputMedia) -> Arrays:
        """What the first window needs of the input media."""

    @abstractmethod
    def make_window(self, request: WindowRequest, on_step: OnStep) -> Window:
        """Denoise the next window. Raises what `on_step` raises."""

    @abstractmethod
    def decode(self, spec: JobSpec, latents: NDArray[Any]) -> Tensor:
        """Pictures [F, 3, P, R] in [0, 1] of all frames of a window; NaN where the output is not finite."""

    def num_new_frames(self, first_frame: int) -> int:
        """New frames of the window whose first new frame has this index."""
        return self._windows.later if first_frame else self._windows.first

    def arrays_of_frames(self, frames: FramesTHWC) -> Arrays:
        """What the next window needs of a window's new frames, in addition to `Window.arrays`."""
        del frames
        return {}

    def start(self, spec: JobSpec, inputs: InputMedia) -> EngineState:
        """The state before chunk 0: what the first window needs, and the generator."""
        return EngineState(0, {**self.start_arrays(spec, inputs), GENERATOR: state_of(seeded(spec.seed))})

    def reseeded(self, state: EngineState, seed: int) -> EngineState:
        """Later windows draw anew; frames that are made already stay."""
        return EngineState(state.frames_done, {**state.arrays, GENERATOR: state_of(seeded(seed))})

    # Not inference_mode: weights that are moved within it, as offloading does, could not be changed outside.
    @torch.no_grad()
    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        """The chunk after `state`: up to 16 frames, fewer only at the video's end.

        Raises what `on_step` raises, and errors.NotFinite, naming the chunk.
        """
        watch, wanted = DeviceTimer(), min(CHUNK_FRAMES, spec.length - state.frames_done)
        if wanted <= 0:
            raise ValueError(f"all {spec.length} frames are done already")
        arrays = state.arrays
        frames = self._waiting_frames(spec, state, watch)
        windows = self._num_windows(state.frames_done + len(frames), wanted - len(frames))
        made_windows = 0
        while len(frames) < wanted:
            counted = count_over_windows(on_step, made_windows, windows)
            made, arrays = self._next_window(spec, state, arrays, len(frames), counted, inputs, watch)
            frames = np.concatenate([frames, made]) if len(frames) else made
            made_windows += 1
        done = state.frames_done + wanted
        kept = arrays if self.keeps_newest else _kept(arrays, done)
        return EngineChunk(frames[:wanted], EngineState(done, kept), dict(watch.seconds))

    def _num_windows(self, first_frame: int, num_frames: int) -> int:
        """Windows that make at least so many frames from `first_frame` on."""
        windows = made = 0
        while made < num_frames:
            made += self.num_new_frames(first_frame + made)
            windows += 1
        return windows

    def _next_window(
        self,
        spec: JobSpec,
        state: EngineState,
        arrays: Arrays,
        frames_ready: int,
        on_step: OnStep,
        inputs: InputMedia,
        watch: DeviceTimer,
    ) -> tuple[FramesTHWC, Arrays]:
        """The new frames of the next window, and the arrays after it."""
        first = state.frames_done + frames_ready
        generator = restored(arrays[GENERATOR])
        others = {name: array for name, array in arrays.items() if name not in (GENERATOR, WINDOW, WINDOW_END)}
        name = f"chunk {state.frames_done // CHUNK_FRAMES}"
        request = WindowRequest(spec, first, others, generator, inputs, name, arrays.get(WINDOW))
        window = watch.run("denoise", lambda: self.make_window(request, on_step))
        end = first + window.num_new_frames
        new = self._decode(spec, window.latents, window.num_new_frames, name, watch)
        kept = {**window.arrays, **self.arrays_of_frames(new), GENERATOR: state_of(generator), WINDOW: window.latents}
        return new, {**kept, WINDOW_END: np.asarray([end], np.int64)}

    def _waiting_frames(self, spec: JobSpec, state: EngineState, watch: DeviceTimer) -> FramesTHWC:
        """Frames of the newest window that are not delivered yet."""
        if WINDOW not in state.arrays:
            return np.zeros((0, 0, 0, 3), np.uint8)
        waiting = int(state.arrays[WINDOW_END][0]) - state.frames_done
        if waiting == 0:
            return np.zeros((0, 0, 0, 3), np.uint8)
        name = f"chunk {state.frames_done // CHUNK_FRAMES}"
        return self._decode(spec, state.arrays[WINDOW], waiting, name, watch)

    def _decode(
        self, spec: JobSpec, latents: NDArray[Any], num_frames: int, name: str, watch: DeviceTimer
    ) -> FramesTHWC:
        """The last `num_frames` frames of a window."""

        def make() -> FramesTHWC:
            return to_uint8(watch.run("decode", lambda: self.decode(spec, latents)), FiniteCheck(name))

        return self._decoded.get(latents.tobytes(), make)[-num_frames:]


def _kept(arrays: Arrays, frames_done: int) -> Arrays:
    """The arrays without a window whose frames are all delivered."""
    if int(arrays[WINDOW_END][0]) > frames_done:
        return arrays
    return {name: array for name, array in arrays.items() if name not in (WINDOW, WINDOW_END)}
