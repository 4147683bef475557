"""Preprocessing of pictures for CLIP's image encoder.

Shapes: B batch, P, R picture rows and columns.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess_picture(pictures_B3PR: Tensor, size: int) -> Tensor:
    """Pictures [B, 3, P, R] in [-1, 1] -> [B, 3, size, size], normalised with CLIP's mean and standard deviation.

    Bicubic with aligned corners and no clamping, as the released model was trained; larger pictures are blurred before
    downsampling.
    """
    smooth_B3PR = _smoothed(_smoothed(pictures_B3PR, 2, size), 3, size)
    resized = functional.interpolate(smooth_B3PR, size=(size, size), mode="bicubic", align_corners=True)
    mean = torch.tensor(CLIP_MEAN, device=resized.device, dtype=resized.dtype).view(3, 1, 1)
    std = torch.tensor(CLIP_STD, device=resized.device, dtype=resized.dtype).view(3, 1, 1)
    return ((resized + 1) / 2 - mean) / std


def _smoothed(pictures_B3PR: Tensor, axis: int, size: int) -> Tensor:
    """Gaussian blur along rows (axis 2) or columns (3) with a standard deviation of (factor - 1) / 2, cut at 4 of them.

    At the released model's 256 -> 224 the kernel is a single 1 in float32, so nothing is blurred.
    """
    deviation = (pictures_B3PR.shape[axis] / size - 1) / 2
    if deviation <= 0 or math.exp(-0.5 / deviation**2) < torch.finfo(torch.float32).eps:
        return pictures_B3PR
    reach = max(int(4 * deviation), 3) // 2
    offsets = torch.arange(-reach, reach + 1, device=pictures_B3PR.device, dtype=pictures_B3PR.dtype)
    weights = torch.exp(-0.5 * (offsets / deviation) ** 2)
    padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
    padded = functional.pad(pictures_B3PR, padding, mode="reflect")
    return (padded.unfold(axis, len(weights), 1) * (weights / weights.sum())).sum(dim=-1)
