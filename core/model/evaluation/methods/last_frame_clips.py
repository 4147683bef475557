"""Long video of clips, as image-to-video models make it: each clip begins with the last frame before it.

A clip has 16 frames; its first repeats the past and is left out, so 15 are new. A clip knows nothing else of the past.
Memory is constant in the video's length.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch

from core.metrics.video.seams import Borders
from core.model.evaluation.methods.base_model import BaseModel
from core.model.evaluation.methods.method import Method, MethodFacts, MethodRequest, in_chunks
from core.model.sampling.noise import seeded_for
from core.service.domain.engine import FramesTHWC
from core.service.domain.frame_plan import CHUNK_FRAMES

BORDERS = Borders(CHUNK_FRAMES, CHUNK_FRAMES - 1)
"""Where clips begin to be new."""


class LastFrameClips(Method):
    """Clips of 16 frames, each of which begins with the last frame before it."""

    def __init__(self, facts: MethodFacts, base: BaseModel, basis: str) -> None:
        """`base` makes the first chunk where none is given. `basis`: as of Method."""
        super().__init__(facts, base.preset.fps, basis)
        self._base = base

    @abstractmethod
    def _new_frames(self, prompt: str, last_frame: FramesTHWC, generator: torch.Generator) -> FramesTHWC:
        """The 15 frames after `last_frame` [1, P, R, 3]: a clip without its first. Raises PromptTooLong, NotFinite."""

    def _made(self, request: MethodRequest) -> Iterator[FramesTHWC]:
        """Begins with the first chunk of StreamingT2V with this seed."""
        return self._continued(request, self._base.first_chunk(request.prompt, request.seed))

    def _continued(self, request: MethodRequest, first_chunk: FramesTHWC) -> Iterator[FramesTHWC]:
        size = (self._base.preset.height, self._base.preset.width)
        if first_chunk.shape[1:3] != size:
            raise ValueError(f"{self.facts.name} goes on from frames of {size}, not {first_chunk.shape[1:3]}")
        return in_chunks(self._pieces(request, first_chunk), request.num_frames)

    def _pieces(self, request: MethodRequest, first_chunk: FramesTHWC) -> Iterator[FramesTHWC]:
        """The first chunk, then 15 new frames at a time, without end."""
        yield first_chunk
        generator, last = seeded_for(request.seed, self.facts.name), first_chunk[-1:]
        while True:
            frames = self._new_frames(request.prompt, last, generator)
            yield frames
            last = frames[-1:]
