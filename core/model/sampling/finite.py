"""Nothing is made of numbers that are not finite: what leaves a network is summed up, and the sums are read with it.

Sums stay on the device until the frames are copied to the CPU anyway, so a GPU is not waited for once more. Knows no
network and no stage; names of both are given.
"""

import math

import torch
from torch import Tensor

from core.service.domain.errors import NotFinite

FIX = "the model's weights may be damaged; on a GPU try profile reference, which computes in float32"


class FiniteCheck:
    """The check of one chunk (or piece of refinement): sees tensors as they are made, and answers at its end.

    A sum is finite only if every summand is: NaN stays NaN, infinity stays infinity or becomes NaN.
    """

    def __init__(self, what: str) -> None:
        """`what` is made, for errors: "chunk 3"."""
        self._what = what
        self._stages: list[str] = []
        self._sums: list[Tensor] = []

    def see(self, stage: str, values: Tensor) -> None:
        """Note a tensor that left a stage ("window", "decoder", ...): one reduction on its device, not waited for."""
        self._stages.append(stage)
        self._sums.append(values.sum(dtype=torch.float32))

    def bring(self, values: Tensor) -> Tensor:
        """`values` on the CPU. Raises NotFinite if any tensor seen before, on the same device, has other numbers.

        The error names the first such stage, in the order in which they were seen.
        """
        sums = torch.stack(self._sums)
        # Not waited for: copies of one device are done in order, so the next one waits for both.
        read = sums.to("cpu", non_blocking=sums.device == values.device)
        brought = values.cpu()
        self._judge(read)
        return brought

    def require(self) -> None:
        """As `bring`, where nothing is brought: waits for the device."""
        if self._sums:
            self._judge(torch.stack(self._sums).cpu())

    def _judge(self, sums: Tensor) -> None:
        for stage, total in zip(self._stages, sums.tolist(), strict=True):
            if not math.isfinite(total):
                raise NotFinite(f"{self._what}, {stage}: numbers that are not finite (NaN or infinity)", fix=FIX)


def clamped(values: Tensor) -> Tensor:
    """Values clamped to [0, 1] where they are finite, else NaN: clamping alone would make 0 or 1 of infinity."""
    # 0 times a finite number adds nothing, not even a last bit; 0 times infinity is NaN.
    return values.clamp(0.0, 1.0).add_(values, alpha=0.0)
