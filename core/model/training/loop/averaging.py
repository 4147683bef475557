"""Exponential moving average (EMA) of the trained parameters."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn


class ParameterAverage:
    """EMA of parameters. The decay is lower in the first steps, so that the initial values fade quickly."""

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        """Starts as a copy of `parameters`; `decay` in [0, 1)."""
        self.decay = decay
        self.shadow = [parameter.detach().clone() for parameter in parameters]

    def update(self, parameters: list[nn.Parameter], step: int) -> None:
        """Include the parameters after step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, parameter in zip(self.shadow, parameters, strict=True):
                mean.lerp_(parameter.detach(), 1 - decay)

    def copy_to(self, parameters: list[nn.Parameter]) -> None:
        """Set the parameters to their averages."""
        with torch.no_grad():
            for parameter, mean in zip(parameters, self.shadow, strict=True):
                parameter.copy_(mean)

    @contextmanager
    def applied_to(self, parameters: list[nn.Parameter]) -> Generator[None]:
        """Within the block the parameters hold their averages; afterwards exactly their previous values."""
        previous = [parameter.detach().clone() for parameter in parameters]
        self.copy_to(parameters)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, values in zip(parameters, previous, strict=True):
                    parameter.copy_(values)
