"""Latents as states keep them: rounded to float16 before they are decoded, so that a resumed job decodes the same.

Shapes: C latent channels, F frames, H, W latent rows and columns.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.sampling.finite import FiniteCheck

LatentArray = NDArray[np.float16]


def to_array(latents_1CFHW: Tensor, what: str, stage: str = "window") -> LatentArray:
    """Latents [1, C, F, H, W] -> float16 [C, F, H, W].

    Raises NotFinite, naming `what` (such as "chunk 3") and the stage, for NaN, infinity and what float16 cannot hold.
    """
    check, rounded = FiniteCheck(what), latents_1CFHW[0].to(torch.float16)
    check.add(stage, rounded)
    array: LatentArray = check.to_cpu(rounded.contiguous()).numpy()
    return array


def to_tensor(array: LatentArray, device: torch.device) -> Tensor:
    """float16 [C, F, H, W] -> latents [1, C, F, H, W], float32, a copy: arrays of a state are never changed."""
    return torch.from_numpy(array.copy()).to(device).float().unsqueeze(0)
