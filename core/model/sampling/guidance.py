"""Classifier-free guidance (Ho and Salimans 2022): both halves in one batch, unconditional first.

Knows no network and no sampler. A scale of 1 is no guidance: the unconditional half is not computed at all.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from core.model.sampling.samplers import Denoiser

BatchPredictor = Callable[[Tensor, int], Tensor]
"""(batch of noisy samples, timestep) -> predictions; the batch is [unconditional, conditional] or [conditional]."""


def num_halves(scale: float) -> int:
    """How many copies of a sample the network sees: 2, or 1 where nothing is guided."""
    return 1 if scale == 1.0 else 2


def guide(predictions: Tensor, scale: float) -> Tensor:
    """Predictions [2, ...] (unconditional, conditional) -> guided [1, ...]; [1, ...] is returned as it is."""
    if predictions.shape[0] == 1:
        return predictions
    unconditional, conditional = predictions.chunk(2)
    return unconditional + scale * (conditional - unconditional)


def guided(predict: BatchPredictor, scale: float) -> Denoiser:
    """A denoiser of one sample [1, ...] over a network that predicts guidance batches."""
    copies = num_halves(scale)

    def denoise(x: Tensor, timestep: int) -> Tensor:
        batch = torch.cat([x] * copies) if copies > 1 else x
        return guide(predict(batch, timestep), scale)

    return denoise
