"""Classifier-free guidance (Ho and Salimans 2022): both halves in one batch, unconditional first.

Knows no network and no sampler. A scale of 1 is no guidance: the unconditional half is not computed at all.
"""

from torch import Tensor


def num_halves(scale: float) -> int:
    """How many copies of a sample the network sees: 2, or 1 where nothing is guided."""
    return 1 if scale == 1.0 else 2


def guide(predictions: Tensor, scale: float) -> Tensor:
    """Predictions [2, ...] (unconditional, conditional) -> guided [1, ...]; [1, ...] is returned as it is."""
    if predictions.shape[0] == 1:
        return predictions
    unconditional, conditional = predictions.chunk(2)
    return unconditional + scale * (conditional - unconditional)
