"""Guided predictions of the refiner's network for windows, a few windows per call.

Shapes: C latent channels, F frames, H, W latent rows and columns, K windows, B guidance batch, L text tokens, D text
width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.model.networks.base_network import UntouchedBase
from core.model.refinement.solver import rescaled_guidance
from core.model.sampling.guidance import num_halves


@dataclass(frozen=True)
class GuidedPredictor:
    """A WindowPredictor (windows.py) for one prompt, or for a prompt of each window."""

    network: UntouchedBase
    states_of_windows: Sequence[Tensor]
    """[unconditional, conditional] states [B, L, D] of each window; a single entry is for all."""
    guidance_scale: float
    guidance_rescale: float
    windows_per_batch: int
    before_batch: Callable[[], None]
    """Called before each call of the network. What it raises ends the refinement."""

    def __call__(self, windows: Sequence[Tensor], timestep: int) -> list[Tensor]:
        """Windows [1, C, F, H, W] of one length, in the network's scale -> guided predictions on their devices."""
        size, states = self.windows_per_batch, list(self.states_of_windows)
        states = states * len(windows) if len(states) == 1 else states
        parts = [slice(first, first + size) for first in range(0, len(windows), size)]
        return [each for part in parts for each in self._batch(windows[part], states[part], timestep)]

    def _batch(self, windows: Sequence[Tensor], states_KBLD: Sequence[Tensor], timestep: int) -> list[Tensor]:
        self.before_batch()
        weight, device, halves = self.network.weight, windows[0].device, num_halves(self.guidance_scale)
        batch_KCFHW = torch.cat(list(windows)).to(device=weight.device, dtype=weight.dtype)
        states = torch.stack(list(states_KBLD), dim=1)[-halves:].flatten(0, 1).to(dtype=weight.dtype)
        timestep_tensor = torch.tensor(timestep, device=weight.device)
        predicted = self.network.predict(batch_KCFHW, timestep_tensor, states).float()
        if halves == 1:
            return [window.to(device) for window in predicted.split(1)]
        # Rescaling uses the standard deviation of each window by itself.
        pairs = zip(*(half.split(1) for half in predicted.chunk(2)), strict=True)
        return [rescaled_guidance(u, c, self.guidance_scale, self.guidance_rescale).to(device) for u, c in pairs]
