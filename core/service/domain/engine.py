"""The port between the service and the models: what an engine is asked and what it answers.

Torch-free. An engine turns a JobSpec into chunks, one at a time, from a small frozen state that any worker can load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from core.service.domain.schema import JobSpec

FramesTHWC = NDArray[np.uint8]
"""RGB frames, uint8, shape (frames, height, width, 3)."""

OnStep = Callable[[int, int], None]
"""Called before each denoising step of a chunk with (step, steps), step counting from 0 over all windows of the chunk.

May raise errors.Interrupted; the engine lets it through and nothing is committed.
"""


def ignore_step(step: int, steps: int) -> None:
    """An OnStep for progress that nobody watches."""
    del step, steps


LongWork = Callable[[str], AbstractContextManager[None]]
"""`with long_work("loading the refiner"):` stands around work that may take minutes and has no steps.

Whoever watches for work that stands still is patient meanwhile, and may show the words.
"""


def unannounced(words: str) -> AbstractContextManager[None]:
    """A LongWork that nobody watches."""
    del words
    return nullcontext()


INPUT_MEDIA_VERSION = 1
"""Of the layout in which InputMedia is stored."""

FrameHWC = NDArray[np.uint8]
"""One RGB picture, uint8, shape (height, width, 3)."""


@dataclass(frozen=True)
class InputMedia:
    """What a request brought beside its text, decoded.

    `image` has any size: the engine fits it. `frames` are 16 of the preset's size: they are chunk 0 as they stand.
    """

    image: FrameHWC | None = None
    frames: FramesTHWC | None = None

    def to_bytes(self) -> bytes:
        """As safetensors: equal pixels give equal bytes."""
        parts = {"image": self.image, "frames": self.frames}
        return pack({name: part for name, part in parts.items() if part is not None}, "version", INPUT_MEDIA_VERSION)

    @staticmethod
    def from_bytes(data: bytes) -> InputMedia:
        """Inverse of `to_bytes`. Raises safetensors.SafetensorError on damaged bytes."""
        arrays, _ = unpack(data, "version")
        return InputMedia(image=arrays.get("image"), frames=arrays.get("frames"))


NO_INPUT_MEDIA = InputMedia()


@dataclass(frozen=True)
class EngineState:
    """Everything that chunk n+1 needs from chunks 0..n, beside the request.

    `frames_done` frames have been delivered. `arrays` belong to the engine (last frames, anchor, generator state,
    surplus frames); they are never changed in place.
    """

    frames_done: int = 0
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=lambda: {})

    def to_bytes(self) -> bytes:
        """Serialise as safetensors, keys sorted: equal states give equal bytes."""
        return pack(self.arrays, "frames_done", self.frames_done)

    @staticmethod
    def from_bytes(data: bytes) -> EngineState:
        """Inverse of `to_bytes`. Raises safetensors.SafetensorError on damaged bytes."""
        arrays, frames_done = unpack(data, "frames_done")
        return EngineState(frames_done, arrays)


def pack(arrays: Mapping[str, NDArray[Any]], counter: str, count: int) -> bytes:
    """Arrays and one counter as safetensors, keys sorted: equal contents give equal bytes."""
    contiguous = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    return save_safetensors({**contiguous, counter: np.asarray([count], dtype=np.int64)})


def unpack(data: bytes, counter: str) -> tuple[dict[str, NDArray[Any]], int]:
    """Inverse of `pack`. Raises safetensors.SafetensorError on damaged bytes."""
    arrays = load_safetensors(data)
    count = int(arrays.pop(counter)[0])
    return arrays, count


@dataclass(frozen=True)
class EngineChunk:
    """One finished chunk: its frames, the state after it, and where the engine's time went (seconds by phase)."""

    frames: FramesTHWC
    state: EngineState
    timings: Mapping[str, float]


class Engine(Protocol):
    """Turns a request into chunks. Deterministic: the same spec and state give the same bytes."""

    @property
    def fingerprint(self) -> str:
        """What the bytes depend on beside the request: weights, device model, library versions, threads."""
        ...

    def warm_up(self) -> None:
        """Load what the first chunk would otherwise wait for. Raises errors.PresetError."""
        ...

    def start(self, spec: JobSpec, given: InputMedia) -> EngineState:
        """The state before chunk 0, which carries what was given. Cheap: no denoising."""
        ...

    def next_chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:
        """The chunk after `state`: up to 16 frames, fewer only at the video's end (spec.num_frames).

        Raises errors.Interrupted when `on_step` does, and errors.NotFinite, naming stage and chunk, where a network
        gives numbers that are not finite: frames and state hold none.
        """
        ...
