"""Shared noise of the refiner: a frame's noise depends on the job's seed, the frame and the step, on nothing else.

So windows that overlap share it wherever and whenever they are computed. Knows no window and no solver.

Shapes: C channels, F frames, H, W latent rows and columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from core.model.sampling.noise import seeded_for

START = -1
"""The "step" of the noise that SDEdit starts from."""

FrameNoise = Callable[[range, int], Tensor]
"""(frames, step or START) -> standard normal [1, C, F, H, W], float32, on the CPU."""


def shared_noise(seed: int, shape_CHW: tuple[int, int, int]) -> FrameNoise:
    """Noise of a job's frames. Each draw has a generator of its own: nothing is stored, any order gives the same."""

    def draw(frames: range, step: int) -> Tensor:
        drawn = [torch.randn(shape_CHW, generator=seeded_for(seed, f"refine:{frame}:{step}")) for frame in frames]
        return torch.stack(drawn, dim=1).unsqueeze(0)

    return draw


def cut_generator(seed: int, window: int, step: int) -> torch.Generator:
    """Generator of the cut between a window and the one before it at a step."""
    return seeded_for(seed, f"refine:cut:{window}:{step}")
