"""The port of first-chunk sources: what they are asked and what they answer.

Knows no network, no pipeline and no preset.

Shapes: F frames, P, R picture rows and columns.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from core.service.domain.engine import FrameHWC, OnStep
from core.service.domain.errors import FieldNotSupported

FIRST_CHUNK = "first chunk"
"""The stage, as errors.NotFinite names it."""


@dataclass(frozen=True)
class FirstChunkRequest:
    """What a first chunk shall show and how it is sampled."""

    prompt: str
    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    generator: torch.Generator
    """The only source of randomness; on the CPU, so that a seed gives the same draws on every device."""
    image: FrameHWC | None = None
    """The picture to begin with, of any size. Sources that cannot begin with one refuse it."""


class FirstChunkSource(Protocol):
    """Makes the first chunk. The same request, generator included, gives the same pictures."""

    def __call__(self, request: FirstChunkRequest, on_step: OnStep) -> Tensor:
        """Pictures [16, 3, P, R] in [0, 1], float32, at the preset's size.

        `on_step` is called before each denoising step; what it raises (errors.Interrupted) ends the work. Raises
        errors.FieldNotSupported for an image where the source takes none. Numbers that are not finite are left as NaN
        for the engine to find, or raise errors.NotFinite.
        """
        ...


def refuse_image(request: FirstChunkRequest) -> None:
    """For sources that make everything from text. Raises FieldNotSupported."""
    if request.image is not None:
        raise FieldNotSupported(
            "this first-chunk source begins with text only", field="image", fix="leave image out, or use svd"
        )
