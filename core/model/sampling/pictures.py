"""Cropping and resampling of pictures to a given size.

Shapes: F frames, P, R picture rows and columns.
"""

import torch
from torch import Tensor
from torch.nn import functional

from core.service.domain.engine import FrameHWC


def crop_and_resize(pictures_F3PR: Tensor, height: int, width: int) -> Tensor:
    """Centre-crop pictures [F, 3, P, R] in [0, 1] to the aspect ratio and resize them to [F, 3, height, width].

    Bicubic with antialiasing, as Pillow does; pictures of this size are returned unchanged.
    """
    part = crop_to_shape(pictures_F3PR, height, width)
    if part.shape[-2:] == (height, width):
        return part
    resized = functional.interpolate(part, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0.0, 1.0)  # bicubic overshoots at edges


def crop_to_shape(pictures_F3PR: Tensor, height: int, width: int) -> Tensor:
    """The largest centred crop with the aspect ratio of `height` x `width`; at least one pixel each way."""
    rows, columns = pictures_F3PR.shape[-2:]
    cropped_rows = min(rows, max(1, round(columns * height / width)))
    cropped_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - cropped_rows) // 2, (columns - cropped_columns) // 2
    return pictures_F3PR[..., top : top + cropped_rows, left : left + cropped_columns]


def as_picture(image: FrameHWC) -> Tensor:
    """uint8 frame [P, R, 3] -> picture [1, 3, P, R] in [0, 1], float32."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255.0
