"""The two parts of FreeNoise (Qiu et al. 2024, arXiv 2310.15169): rescheduled noise, windows of temporal attention.

Shapes: C channels, F frames (of a window or of the video), H, W latent rows and columns or W windows, S sequences (one
per pixel), M heads, E head width.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.attention import AttentionLayer, project_out, split_heads
from core.model.networks.kernels import dense


@dataclass(frozen=True)
class Windows:
    """Windows of `size` frames, one every `stride` frames; the stride divides the size."""

    size: int = 16
    stride: int = 4

    def covered(self, num_frames: int) -> int:
        """The least number of frames, at least `num_frames`, that windows cover exactly."""
        return self.size + -(-max(0, num_frames - self.size) // self.stride) * self.stride

    def starts(self, num_frames: int) -> range:
        """First frames of the windows of a video of `covered` frames."""
        return range(0, num_frames - self.size + 1, self.stride)

    def shares(self, num_frames: int) -> Tensor:
        """Share of each window's result in that of each of its frames [W, F]: proportional to 1, 2, ... 8, 8, ... 2, 1
        for 16 frames, largest in the window's middle, and 1 in all windows of a frame together."""
        positions = torch.arange(self.size, dtype=torch.float64)
        weights_F = (self.size + 1) / 2 - (positions - (self.size - 1) / 2).abs()
        windows = [slice(start, start + self.size) for start in self.starts(num_frames)]
        total = torch.zeros(num_frames, dtype=torch.float64)
        for window in windows:
            total[window] += weights_F
        return torch.stack([weights_F / total[window] for window in windows])


def rescheduled_noise(base_1CFHW: Tensor, num_frames: int, windows: Windows, generator: torch.Generator) -> Tensor:
    """Initial noise [1, C, num_frames, H, W] of a long video from that of one window.

    The video begins with the window's noise. Each later unit of `stride` frames has the noise of the unit one window
    before it, shuffled. So every window begins with the same noise as the first, in another order. `num_frames` are
    `windows.covered` ones.
    """
    units = list(base_1CFHW.split(windows.stride, dim=2))
    units_per_window = len(units)
    while len(units) * windows.stride < num_frames:
        order = torch.randperm(windows.stride, generator=generator)
        units.append(units[-units_per_window][:, :, order.to(base_1CFHW.device)])
    return torch.cat(units, dim=2)


class WindowedAttention:
    """diffusers attention processor: self-attention along time within windows, whose results are averaged.

    A frame's result is the mean of those of all windows with it, weighted by `Windows.shares`. In a video of
    one window it is plain attention.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def __call__(
        self,
        attn: AttentionLayer,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [S, F, C] of `Windows.covered` frames -> [S, F, C]."""
        assert encoder_hidden_states is None, "a temporal layer attends to its own frames"
        assert attention_mask is None, "UNet3D never masks"
        queries, keys, values = (
            split_heads(dense(project, hidden_states), attn.heads) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        fused = torch.zeros_like(queries)
        shares_WF = self._windows.shares(hidden_states.shape[1]).to(fused)
        for start, share_F in zip(self._windows.starts(hidden_states.shape[1]), shares_WF, strict=True):
            frames = slice(start, start + self._windows.size)
            attended_SMFE = functional.scaled_dot_product_attention(
                queries[:, :, frames], keys[:, :, frames], values[:, :, frames]
            )
            fused[:, :, frames] += attended_SMFE * share_F[:, None]
        return project_out(attn, fused.transpose(1, 2).flatten(2))


@contextmanager
def windowed_attention(unet: nn.Module, windows: Windows) -> Generator[None]:
    """Within the block, the temporal layers of a diffusers UNet3D attend in windows; afterwards it is as before.

    Acts on diffusers' own forward, which calls processors. Spatial layers and temporal convolutions stay.
    """
    layers = _temporal_layers(unet)
    before = [layer.get_processor() for layer in layers]
    for layer in layers:
        layer.set_processor(WindowedAttention(windows))
    try:
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)


def _temporal_layers(unet: nn.Module) -> list[AttentionLayer]:
    """Every attention layer along time."""
    transformers = [module for module in unet.modules() if isinstance(module, TransformerTemporalModel)]
    layers = [module for each in transformers for module in each.modules() if isinstance(module, Attention)]
    return cast("list[Any]", layers)
