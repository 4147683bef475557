"""Classifier-free guidance (Ho and Salimans 2022): both halves in one batch, unconditional first.

A scale of 1 means no guidance: the unconditional half is not computed.
"""

from torch import Tensor


def num_halves(scale: float) -> int:
    """Batch size per sample: 2 with guidance, 1 at scale 1."""
    return 1 if scale == 1.0 else 2


def guide(predictions: Tensor, scale: float) -> Tensor:
    """Predictions [2B, ...] (B unconditional, then B conditional) -> guided [B, ...]; [1, ...] is returned as it is."""
    if predictions.shape[0] == 1:
        return predictions
    unconditional, conditional = predictions.chunk(2)
    return unconditional + scale * (conditional - unconditional)
