"""Randomized blending (arXiv 2403.14773, section 4.3): at every step a random cut in the overlap of two windows.

Frames before the cut are the earlier window's prediction, the others the later window's; nothing is averaged. Because
the cut moves from step to step, no seam stays at one frame.

Shapes: C channels, F frames, H, W latent rows and columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor

CutSource = Callable[[int, int], int]
"""(step, window) -> number of the window's blended frames that are taken from the previous window."""


def draw_cut(generator: torch.Generator, overlap: int) -> int:
    """Number of frames of an overlap taken from the earlier window: uniform in {0..overlap}, as in the paper.

    Frame f (from 1) is then the earlier window's with probability 1 - f/(overlap + 1). The released code draws from
    {0..overlap - 1}, so it never takes the last frame from the earlier window.
    """
    return int(torch.randint(overlap + 1, (), generator=generator))


def blend(earlier_1CFHW: Tensor, later_1CFHW: Tensor, num_earlier: int) -> Tensor:
    """[1, C, F, H, W]: the first `num_earlier` frames of the earlier window, then the others of the later one."""
    return torch.cat([earlier_1CFHW[:, :, :num_earlier], later_1CFHW[:, :, num_earlier:]], dim=2)
