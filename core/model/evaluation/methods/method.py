"""What a compared method is: a prompt, a seed and perhaps a given first chunk become the frames of a video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch

from core.metrics.video.seams import Borders
from core.model.presets.fingerprint import without_threads
from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import PresetError
from core.service.domain.frame_plan import CHUNK_FRAMES

TakesFirstChunk = Literal["all 16 frames", "its last frame", "no"]
"""What a method reads of a given first chunk."""


Training = Literal["the preset's", "a trial's", "none"]
"""Of a method's own weights: a preset's as it is installed, an ablation trial's of a small budget, or none beside the
base."""


class MethodError(PresetError):
    """The compared method is unknown or cannot be loaded."""


@dataclass(frozen=True)
class MethodFacts:
    """What readers must know of a method; known before its networks are loaded."""

    name: str
    """As in `--methods`."""
    title: str
    """As in a table: "FreeNoise"."""
    takes_first_chunk: TakesFirstChunk
    source: str
    """Paper, training, or the preset's source."""
    borders: Borders | None = None
    """Where its chunks or windows begin, for the seam score; None if it has none, or they are not known."""
    training: Training = "the preset's"
    version: int = 1
    """Of the code that makes its frames beside the engines': raised with every change of what comes out."""


@dataclass(frozen=True)
class MethodRequest:
    """One video. The same request, first chunk, fingerprint and threads give the same frames."""

    prompt: str
    seed: int
    num_frames: int
    """At least 16."""


class Method(ABC):
    """A method with its networks loaded."""

    def __init__(self, facts: MethodFacts, fps: int | Fraction, basis: str) -> None:
        """`basis`: constants, weights, preset, machine and libraries."""
        self.facts = facts
        self.fps = fps
        self.fingerprint = f"{facts.name} version {facts.version}; {without_threads(basis)}"
        """What the frames depend on beside request and first chunk. Threads are not in it: they change no more than
        the rounding of sums, and the same comparison may go on with others."""
        self.threads = torch.get_num_threads()
        """CPU threads that it was loaded with."""

    def chunks(self, request: MethodRequest, first_chunk: FramesTHWC | None = None) -> Iterator[FramesTHWC]:
        """The video's frames, in order, in pieces of up to 16 that add up to exactly `num_frames`.

        A `first_chunk` [16, H, W, 3] is the beginning of the video, unchanged, unless the method takes none: then it is
        ignored. Without one the method makes its own. Later frames have its size. Raises PromptTooLong, and ValueError
        for a request of fewer than 16 frames and a first chunk of another length or a size that the method cannot have.
        """
        if request.num_frames < CHUNK_FRAMES:
            raise ValueError(f"a compared video has {CHUNK_FRAMES} frames or more, not {request.num_frames}")
        if first_chunk is None or self.facts.takes_first_chunk == "no":
            return self._made(request)
        if first_chunk.ndim != 4 or len(first_chunk) != CHUNK_FRAMES or first_chunk.shape[-1] != 3:
            raise ValueError(f"a first chunk is {CHUNK_FRAMES} RGB frames, not {first_chunk.shape}")
        return self._continued(request, first_chunk)

    @abstractmethod
    def _made(self, request: MethodRequest) -> Iterator[FramesTHWC]:
        """All frames, from the prompt alone."""

    def _continued(self, request: MethodRequest, first_chunk: FramesTHWC) -> Iterator[FramesTHWC]:
        """`first_chunk`, then the other frames. For methods that take one."""
        del request, first_chunk
        raise NotImplementedError(f"{self.facts.name} takes no first chunk")


def in_chunks(pieces: Iterator[FramesTHWC], num_frames: int) -> Iterator[FramesTHWC]:
    """The first `num_frames` frames of the pieces, none longer than 16. Reads no piece that it does not need."""
    left = num_frames
    while left > 0:
        piece = next(pieces)[:left]
        left -= len(piece)
        for first in range(0, len(piece), CHUNK_FRAMES):
            yield piece[first : first + CHUNK_FRAMES]
