"""Latents as the state keeps them: rounded before they are decoded, so that a resumed job decodes the same.

Shapes: C latent channels, F latent frames, H, W latent rows and columns.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.sampling.finite import FiniteCheck


def to_array(latents_1FCHW: Tensor, what: str) -> NDArray[Any]:
    """Latents -> float16 [F, C, H, W], or the uint16 of bfloat16's bits, which numpy has not.

    Raises NotFinite, naming `what` (such as "chunk 3"), for NaN, infinity, and what float16 cannot hold.
    """
    dtype = torch.bfloat16 if latents_1FCHW.dtype == torch.bfloat16 else torch.float16
    rounded, check = latents_1FCHW[0].to(dtype), FiniteCheck(what)
    check.add("window", rounded)
    copied = check.to_cpu(rounded.contiguous())
    if dtype == torch.float16:
        return copied.numpy()
    return copied.view(torch.int16).numpy().view(np.uint16)


def to_tensor(array: NDArray[Any], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Inverse of `to_array`: [1, F, C, H, W], a copy."""
    if array.dtype == np.uint16:
        stored = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    else:
        stored = torch.from_numpy(array.copy())
    return stored.to(device, dtype).unsqueeze(0)
