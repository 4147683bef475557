"""Detects NaN and infinity in the outputs of networks without an extra wait for the GPU.

Each tensor is summed on its device; the sums are read together with the frames, which are copied to the CPU anyway.
"""

import math

import torch
from torch import Tensor

from core.service.domain.errors import NotFinite

FIX = (
    "the model's weights may be damaged; on a GPU compute in float32: by profile reference if the model has it,"
    " else by gpu_dtype float32 in its preset.json"
)


class FiniteCheck:
    """The check of one chunk (or refinement task): collects tensors, and raises at the end if any was not finite.

    A float32 sum is finite only if every term is.
    """

    def __init__(self, what: str) -> None:
        """`what`: the subject of errors, such as "chunk 3"."""
        self._what = what
        self._stages: list[str] = []
        self._sums: list[Tensor] = []

    def add(self, stage: str, values: Tensor) -> None:
        """Add the output of a stage ("window", "decoder", ...): one reduction on its device, not waited for."""
        self._stages.append(stage)
        self._sums.append(values.sum(dtype=torch.float32))

    def to_cpu(self, values: Tensor) -> Tensor:
        """Copy `values` to the CPU. Raises NotFinite, naming the first stage added whose tensor is not finite.

        All tensors must be on one device.
        """
        sums = torch.stack(self._sums)
        # Copies from one device run in order, so the next copy waits for both.
        read = sums.to("cpu", non_blocking=sums.device == values.device)
        copied = values.cpu()
        self._raise_if_not_finite(read)
        return copied

    def check(self) -> None:
        """Raise NotFinite as `to_cpu` does, without a tensor to copy. Waits for the device."""
        if self._sums:
            self._raise_if_not_finite(torch.stack(self._sums).cpu())

    def _raise_if_not_finite(self, sums: Tensor) -> None:
        for stage, total in zip(self._stages, sums.tolist(), strict=True):
            if not math.isfinite(total):
                raise NotFinite(f"{self._what}, {stage}: numbers that are not finite (NaN or infinity)", fix=FIX)


def clamped(values: Tensor) -> Tensor:
    """Values clamped to [0, 1]; NaN where not finite, which clamping alone would turn into 0 or 1 for infinity."""
    # 0 * x is exactly 0 for finite x and NaN for infinity.
    return values.clamp(0.0, 1.0).add_(values, alpha=0.0)
