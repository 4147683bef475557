"""Latents as states keep them: rounded to 16 bits before they are decoded, so that a resumed job decodes the same.

Shapes: 1 batch, and the axes of a pipeline's latents in any order, such as C channels, F frames, H, W rows and columns.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.sampling.finite import FiniteCheck

LatentArray = NDArray[Any]
"""Numbers, or the uint16 of bfloat16's bits, which numpy has not."""


def to_array(latents_1CFHW: Tensor, what: str, stage: str = "window", dtype: torch.dtype | None = None) -> LatentArray:
    """Latents [1, ...] -> [...] of `dtype`; None: float16, or bfloat16 where the latents are.

    Raises NotFinite, naming `what` (such as "chunk 3") and the stage, for NaN, infinity and what the dtype cannot hold.
    """
    if dtype is None:
        dtype = torch.bfloat16 if latents_1CFHW.dtype == torch.bfloat16 else torch.float16
    check, rounded = FiniteCheck(what), latents_1CFHW[0].to(dtype)
    check.add(stage, rounded)
    copied = check.to_cpu(rounded.contiguous())
    if dtype == torch.bfloat16:
        return copied.view(torch.int16).numpy().view(np.uint16)
    return copied.numpy()


def to_tensor(array: LatentArray, device: torch.device) -> Tensor:
    """[...] -> latents [1, ...], float32, a copy: arrays of a state are never changed."""
    if array.dtype == np.uint16:
        stored = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    else:
        stored = torch.from_numpy(array.copy())
    return stored.to(device).float().unsqueeze(0)
