"""One weight of a network made NaN or infinite for the length of a test, as a damaged file or memory would leave it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

NAN, INFINITY = float("nan"), float("inf")


@contextmanager
def poisoned(network: nn.Module, value: float, name: str | None = None) -> Generator[None]:
    """One number of the weight `name` of `network` is `value` within the block; by default of its last weight."""
    weight = list(network.parameters())[-1] if name is None else network.get_parameter(name)
    flat = weight.detach().view(-1)
    before: Tensor = flat[0].clone()
    with torch.no_grad():
        flat[0] = value
    try:
        yield
    finally:
        with torch.no_grad():
            flat[0] = before
