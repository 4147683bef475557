"""Shared noise of the refiner: depends only on the job's seed, the frame and the step.

Overlapping windows therefore share it, in any order and on any worker.

Shapes: C channels, F frames, H, W latent rows and columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from core.model.sampling.noise import seeded_for

START = -1
"""The "step" of SDEdit's initial noise."""

FrameNoise = Callable[[range, int], Tensor]
"""(frames, step or START) -> standard normal [1, C, F, H, W], float32, on the CPU."""


def shared_noise(seed: int, shape_CHW: tuple[int, int, int]) -> FrameNoise:
    """A source of noise for a job's frames. Each frame and step has its own generator."""

    def draw(frames: range, step: int) -> Tensor:
        drawn = [torch.randn(shape_CHW, generator=seeded_for(seed, f"refine:{frame}:{step}")) for frame in frames]
        return torch.stack(drawn, dim=1).unsqueeze(0)

    return draw


def cut_generator(seed: int, window: int, step: int) -> torch.Generator:
    """Generator of the cut between a window and the previous one at a step."""
    return seeded_for(seed, f"refine:cut:{window}:{step}")
