"""What a compared method is: a prompt, a seed and perhaps a given first chunk become the frames of a video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from core.service.domain.engine import FramesTHWC
from core.service.domain.frame_plan import CHUNK_FRAMES

TakesFirstChunk = Literal["all 16 frames", "its last frame", "no"]
"""What a method reads of a given first chunk."""


@dataclass(frozen=True)
class MethodFacts:
    """What readers must know of a method; known before its networks are loaded."""

    name: str
    """As in `--methods`."""
    title: str
    """As in a table: "FreeNoise"."""
    takes_first_chunk: TakesFirstChunk
    source: str
    """Paper, program, or the preset's card."""


@dataclass(frozen=True)
class MethodRequest:
    """One video. The same request, first chunk and fingerprint give the same frames."""

    prompt: str
    seed: int
    num_frames: int
    """At least 16."""


class Method(ABC):
    """A method with its networks loaded."""

    def __init__(self, facts: MethodFacts, fps: int | Fraction, fingerprint: str) -> None:
        self.facts = facts
        self.fps = fps
        self.fingerprint = fingerprint
        """What the frames depend on beside request and first chunk: method, weights, libraries, threads."""

    @abstractmethod
    def chunks(self, request: MethodRequest, first_chunk: FramesTHWC | None = None) -> Iterator[FramesTHWC]:
        """The video's frames, in order, in pieces of any length that add up to exactly `num_frames`.

        A `first_chunk` [16, H, W, 3] is the beginning of the video, unchanged, unless the method takes none: then it is
        ignored. Without one the method makes its own. Later frames have its size. Raises PromptTooLong, and ValueError
        for a first chunk of another length or of a size that the method cannot have.
        """


def check_first_chunk(frames: FramesTHWC) -> None:
    """Raises ValueError unless these are 16 RGB frames."""
    if frames.ndim != 4 or len(frames) != CHUNK_FRAMES or frames.shape[-1] != 3:
        raise ValueError(f"a first chunk is {CHUNK_FRAMES} RGB frames, not {frames.shape}")
