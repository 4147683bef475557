"""What a comparison needs of the methods and of the measurement. Both are loaded anew in every process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

from core.metrics.video.metric import Metric
from core.service.domain.engine import FramesTHWC

FirstChunk = Literal["given", "own"]
"""Whether a method begins with the first chunk that is given to all, or makes its own."""


class ComparedMethod(Protocol):
    """One way to make a long video of a prompt, with its networks loaded."""

    @property
    def fingerprint(self) -> str:
        """What its frames depend on beside prompt, seed, number of frames and first chunk."""
        ...

    def frames(self, prompt: str, num_frames: int, seed: int, first_chunk: FramesTHWC) -> Iterable[FramesTHWC]:
        """A video of `num_frames` frames in parts, in order. A method whose first chunk is "given" begins with
        `first_chunk` (16 frames, or all of a shorter video) as it is; another ignores it."""
        ...


class Methods(Protocol):
    """The methods that a preset allows."""

    def load(self, name: str) -> ComparedMethod:
        """Raises what stands in the way, such as PresetError."""
        ...

    @property
    def source_fingerprint(self) -> str:
        """What first chunks depend on beside prompt and seed."""
        ...

    def first_chunk(self, prompt: str, seed: int, num_frames: int) -> FramesTHWC:
        """The first frames of a video, at most 16."""
        ...


class Measurement(Protocol):
    """How videos are measured."""

    @property
    def key(self) -> Mapping[str, str | int]:
        """What its values depend on beside frames and prompt: flow, CLIP model, versions."""
        ...

    @property
    def flow(self) -> str:
        """The name of the flow."""
        ...

    def metrics(self, prompt: str, fps: float) -> Sequence[Metric]:
        """New metrics for one video."""
        ...
