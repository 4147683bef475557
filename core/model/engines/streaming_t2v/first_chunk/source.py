"""The interface of first-chunk sources.

Shapes: F frames, P, R picture rows and columns.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from core.service.domain.engine import FrameHWC, OnStep
from core.service.domain.errors import FieldNotSupported, PresetError
from core.service.domain.frame_plan import CHUNK_FRAMES

FIRST_CHUNK = "first chunk"
"""Name of the stage in errors.NotFinite."""


@dataclass(frozen=True)
class FirstChunkRequest:
    """Prompts, sampling parameters and input image of a first chunk."""

    prompt: str
    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    generator: torch.Generator
    """The only source of randomness; a CPU generator, so that a seed gives the same draws on every device."""
    image: FrameHWC | None = None
    """The first frame, of any size. Text-to-video sources refuse it."""


class FirstChunkSource(Protocol):
    """Generates the first chunk. Equal requests, generator state included, give equal pictures."""

    def __call__(self, request: FirstChunkRequest, on_step: OnStep) -> Tensor:
        """Pictures [16, 3, P, R] in [0, 1], float32, at the preset's size.

        `on_step` is called before each denoising step; what it raises (errors.Interrupted) ends the call. Raises
        errors.FieldNotSupported for an image that the source does not take. Values that are not finite are returned as
        NaN, or raise errors.NotFinite.
        """
        ...


def refuse_image(request: FirstChunkRequest) -> None:
    """For text-to-video sources: raise FieldNotSupported if there is an image."""
    if request.image is not None:
        raise FieldNotSupported(
            "this first-chunk source takes no image", field="image", fix="leave image out, or use svd"
        )


def first_frames(source: str, frames_1F3PR: Tensor) -> Tensor:
    """The first 16 frames [16, 3, P, R] of a result, float32 on the CPU. Raises PresetError if there are fewer."""
    if frames_1F3PR.shape[1] < CHUNK_FRAMES:
        raise PresetError(
            f"{source} makes {frames_1F3PR.shape[1]} frames; a first chunk has {CHUNK_FRAMES}",
            fix="choose another first-chunk source",
        )
    return frames_1F3PR[0, :CHUNK_FRAMES].float().cpu()
