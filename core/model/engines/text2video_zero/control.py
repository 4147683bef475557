"""Control videos: the maps that ControlNets read, and which part of them is background.

Shapes: F frames, P, R picture rows and columns, H, W latent rows and columns.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from core.model.sampling.edges import canny_edges
from core.service.domain.engine import FrameReader, FramesTHWC

CANNY = "canny"
"""The type whose maps are found here; the frames of all others are maps."""
_DIFFERENCE = 25
"""Levels of 255 by which a pixel differs where something moved. Less is what compression leaves."""
_DILATION_PIXELS = 5
"""As published."""


def frames_with_first(video: FrameReader, first: int, count: int) -> FramesTHWC:
    """Frames [first, first + count), as far as there are any, after frame 0 (once)."""
    frames = video.read(first, min(count, video.num_frames - first))
    return frames if first == 0 else np.concatenate([video.read(0, 1), frames])


def control_maps(control_type: str, frames_FPR3: FramesTHWC) -> Tensor:
    """Maps [F, 3, P, R] in [0, 1], float32."""
    maps = canny_edges(frames_FPR3)[..., None].repeat(3, axis=3) if control_type == CANNY else frames_FPR3
    return torch.from_numpy(np.ascontiguousarray(maps)).permute(0, 3, 1, 2).float() / 255.0


def background(frames_FPR3: FramesTHWC, height: int, width: int) -> Tensor:
    """Where each frame shows what frame 0 shows: [F, 1, H, W], 1 for latents without any other pixel, else 0.

    Where something moved is dilated, as the masks of the published code are.
    """
    differs = np.abs(frames_FPR3.astype(np.int16) - frames_FPR3[:1]).max(axis=3) > _DIFFERENCE
    moved_F1PR = torch.from_numpy(differs)[:, None].float()
    wider = functional.max_pool2d(moved_F1PR, _DILATION_PIXELS, stride=1, padding=_DILATION_PIXELS // 2)
    return 1.0 - functional.adaptive_max_pool2d(wider, (height, width))
