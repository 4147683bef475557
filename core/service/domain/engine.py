"""The port between the service and the models: what an engine is asked and what it returns.

Torch-free. An engine turns a JobSpec into chunks, one at a time, from a small frozen state that any worker can load.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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

FrameHWC = NDArray[np.uint8]
"""One RGB picture, uint8, shape (height, width, 3)."""

OnStep = Callable[[int, int], None]
"""Called before each denoising step of a chunk with (step, steps), step counting from 0 over all windows of the chunk.

May raise errors.Interrupted; the engine lets it through and nothing is committed.
"""


def ignore_step(step: int, steps: int) -> None:
    """An OnStep that does nothing."""
    del step, steps


LongWork = Callable[[str], AbstractContextManager[None]]
"""`with long_work("loading the refiner"):` surrounds work that may take minutes and has no steps.

The worker's watchdog is patient meanwhile, and the words may be shown.
"""


def unannounced(words: str) -> AbstractContextManager[None]:
    """A LongWork that does nothing."""
    del words
    return nullcontext()


INPUT_MEDIA_VERSION = 1
"""Of the layout in which InputMedia is stored."""


class FrameReader(Protocol):
    """The frames of a whole input video, at the job's fps and the preset's size. Never all of them in memory."""

    @property
    def num_frames(self) -> int:
        """As many as the job has, though the video may be longer."""
        ...

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    def read(self, start: int, count: int) -> FramesTHWC:
        """Frames [start, start + count), all of which must exist.

        Raises what the engine has to let through: errors.Interrupted, or that stored frames are damaged.
        """
        ...


@dataclass(frozen=True)
class InputMedia:
    """The `image`, `video` or `control` of a request, decoded.

    `image` has any size: the engine fits it. `frames` are the last 16 of a video, of the job's size: they are chunk
    0 as they are. `video` is all of a video, of that size too: of a `control`, or with the capability video="whole".
    """

    image: FrameHWC | None = None
    frames: FramesTHWC | None = None
    video: FrameReader | None = None

    def to_bytes(self) -> bytes:
        """Image and frames as safetensors: equal pixels give equal bytes. A `video` is stored in pieces elsewhere."""
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

    `frames_done` frames have been delivered. `arrays` belong to the engine (last frames or latents, anchor, generator
    state, surplus frames) and are never changed in place. It is stored with every chunk, so it should be small: latents
    in float16 rather than frames. numpy has no bfloat16: store such latents as the uint16 of their bits.
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
    """Arrays and one counter as safetensors, keys sorted: equal contents give equal bytes.

    Raises ValueError if an array has the counter's name, safetensors.SafetensorError for a dtype that cannot be stored.
    """
    if counter in arrays:
        raise ValueError(f"no array may be named {counter}")
    contiguous = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    return save_safetensors({**contiguous, counter: np.asarray([count], dtype=np.int64)})


def unpack(data: bytes, counter: str) -> tuple[dict[str, NDArray[Any]], int]:
    """Inverse of `pack`. Raises safetensors.SafetensorError on damaged bytes."""
    arrays = load_safetensors(data)
    count = int(arrays.pop(counter)[0])
    return arrays, count


@dataclass(frozen=True)
class EngineChunk:
    """One finished chunk: its frames, the state after it, and where the engine's time went (seconds by phase).

    The engine never changes them in place: they are encoded and stored while it makes the next chunk."""

    frames: FramesTHWC
    state: EngineState
    timings: Mapping[str, float]


@dataclass(frozen=True)
class ChunkRequest:
    """The next chunk of one job: the arguments of Engine.next_chunk."""

    spec: JobSpec
    state: EngineState
    on_step: OnStep = ignore_step
    inputs: InputMedia = NO_INPUT_MEDIA


class BaseEngine(ABC):
    """What engines and refiners have in common."""

    @property
    def device(self) -> str:
        """The device that computes, for people: "cpu", or the GPU's name."""
        return "cpu"

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What the bytes depend on beside request and input: weights, device model, library versions, threads."""

    def warm_up(self) -> None:  # noqa: B027 - there may be nothing to load
        """Load what the first chunk or window would otherwise wait for. Raises errors.PresetError."""


class Engine(BaseEngine):
    """Turns a request into chunks. Deterministic: the same spec, state and inputs give the same bytes.

    A chunk has 16 frames, whatever the engine's window is: frames that a window makes beyond them wait in the state.
    """

    @abstractmethod
    def start(self, spec: JobSpec, inputs: InputMedia) -> EngineState:
        """The state before chunk 0, with all that later chunks need of `image` and `frames`. Cheap: no denoising."""

    def reseeded(self, state: EngineState, seed: int) -> EngineState:
        """A state after some chunk, to go on from with another seed. For engines whose capabilities say `reseeds`."""
        del state, seed
        raise NotImplementedError(f"{type(self).__name__} cannot go on with another seed")

    @abstractmethod
    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        """The chunk after `state`: 16 frames, fewer only at the video's end (spec.num_frames).

        `inputs` has the `video` of an engine that reads whole videos, for every chunk; nothing else.
        Raises errors.Interrupted when `on_step` does, and errors.NotFinite, naming stage and chunk, if a network gives
        numbers that are not finite: frames and state hold none.
        """

    def next_chunks(self, requests: Sequence[ChunkRequest]) -> list[EngineChunk | Exception]:
        """One result per request, in order: its chunk, or what making it raised, which never concerns another request.

        By default one after the other; an engine that can share a batch among jobs overrides it. The bytes of a chunk
        do not depend on the other requests.
        """
        return [self._chunk_or_error(request) for request in requests]

    def _chunk_or_error(self, request: ChunkRequest) -> EngineChunk | Exception:
        try:
            return self.next_chunk(request.spec, request.state, request.on_step, request.inputs)
        except Exception as error:  # handed to the caller, who raises it for this job alone
            return error
