"""Pictures of any size brought to a wanted one: cropped to its shape, then resampled without aliasing.

Knows no source and no model.

Shapes: F frames, P, R picture rows and columns.
"""

import torch
from torch import Tensor
from torch.nn import functional

from core.service.domain.engine import FrameHWC


def fit(pictures_F3PR: Tensor, height: int, width: int) -> Tensor:
    """Pictures [F, 3, P, R] in [0, 1] -> [F, 3, height, width]: the largest centred part of that shape, resampled.

    Bicubic, with the kernel widened where pixels get fewer (as Pillow does); pictures of the right size pass unchanged.
    """
    part = crop_to_shape(pictures_F3PR, height, width)
    if part.shape[-2:] == (height, width):
        return part
    resized = functional.interpolate(part, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0.0, 1.0)  # bicubic overshoots at edges


def crop_to_shape(pictures_F3PR: Tensor, height: int, width: int) -> Tensor:
    """The largest centred part whose sides are as `height` to `width`; whole pixels, never fewer than one."""
    rows, columns = pictures_F3PR.shape[-2:]
    wanted_rows = min(rows, max(1, round(columns * height / width)))
    wanted_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - wanted_rows) // 2, (columns - wanted_columns) // 2
    return pictures_F3PR[..., top : top + wanted_rows, left : left + wanted_columns]


def as_picture(image: FrameHWC) -> Tensor:
    """uint8 [P, R, 3] -> [1, 3, P, R] in [0, 1], float32."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255.0
