"""Randomized blending (arXiv 2403.14773, section 4.3): at every step a fresh cut in the overlap of two windows.

Before the cut the earlier window's prediction counts, from it on the later one's; nothing is averaged, and because the
cut moves from step to step no frame keeps a seam. Knows no network and no solver. Random numbers come from a generator.

Shapes: C channels, F frames, H, W latent rows and columns.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

BlendingLaw = Literal["paper", "published"]
CutSource = Callable[[int, int], int]
"""(step, window) -> how many of the window's blended frames come from the window before it."""


def draw_cut(generator: torch.Generator, overlap: int, law: BlendingLaw = "paper") -> int:
    """Frames of an overlap of `overlap` that the earlier window gives at this step.

    "paper": uniform in {0..O}, so frame f (from 1) is the earlier window's with probability 1 - f/(O+1). "published",
    the released code's: uniform in {0..O-1}, probability 1 - f/O, so the last frame never is.
    """
    choices = overlap + 1 if law == "paper" else overlap
    return int(torch.randint(choices, (), generator=generator))


def earlier_probability(frame: int, overlap: int, law: BlendingLaw = "paper") -> float:
    """Probability that frame `frame` (1..overlap) of an overlap comes from the earlier window."""
    return 1 - frame / (overlap + 1 if law == "paper" else overlap)


def blend(earlier_1CFHW: Tensor, later_1CFHW: Tensor, num_earlier: int) -> Tensor:
    """The first `num_earlier` frames from the earlier window, the others from the later one."""
    return torch.cat([earlier_1CFHW[:, :, :num_earlier], later_1CFHW[:, :, num_earlier:]], dim=2)
