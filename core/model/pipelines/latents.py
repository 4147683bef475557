"""Latents as states keep them: rounded to float16 before they are decoded, so that a resumed job decodes the same.

Shapes: C latent channels, F frames, H, W latent rows and columns.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.sampling.finite import FiniteCheck

LatentArray = NDArray[np.floating[Any]]


def to_array(
    latents_1CFHW: Tensor, what: str, stage: str = "window", dtype: torch.dtype = torch.float16
) -> LatentArray:
    """Latents [1, C, F, H, W] -> [C, F, H, W] of a dtype that numpy has.

    Raises NotFinite, naming `what` (such as "chunk 3") and the stage, for NaN, infinity and what the dtype cannot hold.
    """
    check, rounded = FiniteCheck(what), latents_1CFHW[0].to(dtype)
    check.add(stage, rounded)
    array: LatentArray = check.to_cpu(rounded.contiguous()).numpy()
    return array


def to_tensor(array: LatentArray, device: torch.device) -> Tensor:
    """[C, F, H, W] -> latents [1, C, F, H, W], float32, a copy: arrays of a state are never changed."""
    return torch.from_numpy(array.copy()).to(device).float().unsqueeze(0)
