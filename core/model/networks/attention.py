"""Attention with the weights of a diffusers attention layer and torch's fused kernels. Knows no text and no frames.

Shapes: S sequences, L positions, K positions read, C channels, M heads, E head width.
"""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.kernels import dense

MOST_SEQUENCES = 65_535
"""Of one call on a GPU, whose grid of blocks has no more rows. Pixels that attend along time can be more."""


class AttentionLayer(Protocol):
    """What is used of diffusers' Attention; its own annotations admit layers without projections."""

    heads: int
    to_q: nn.Linear
    to_k: nn.Linear
    to_v: nn.Linear
    to_out: nn.ModuleList

    def get_processor(self) -> Any:
        """The processor in place, one of diffusers' many classes."""
        ...

    def set_processor(self, processor: Any) -> None:
        """Replace the processor."""
        ...


def attend(layer: AttentionLayer, states_SLC: Tensor, read_SKC: Tensor | None = None) -> Tensor:
    """[S, L, C] reading [S, K, C], or themselves -> [S, L, C]."""
    read = states_SLC if read_SKC is None else read_SKC
    attended_SMLE = fused(
        split_heads(dense(layer.to_q, states_SLC), layer.heads),
        split_heads(dense(layer.to_k, read), layer.heads),
        split_heads(dense(layer.to_v, read), layer.heads),
        MOST_SEQUENCES if states_SLC.is_cuda else len(states_SLC),
    )
    return project_out(layer, attended_SMLE.transpose(1, 2).flatten(2))


def fused(queries_SMLE: Tensor, keys_SMKE: Tensor, values_SMKE: Tensor, most_sequences: int) -> Tensor:
    """torch's fused attention [S, M, L, E], at most so many sequences in one call."""
    parts = (each.split(most_sequences) for each in (queries_SMLE, keys_SMKE, values_SMKE))
    attended = [functional.scaled_dot_product_attention(*part) for part in zip(*parts, strict=True)]
    return attended[0] if len(attended) == 1 else torch.cat(attended)


def project_out(layer: AttentionLayer, joined_SLC: Tensor) -> Tensor:
    """The layer's last projection, with its dropout."""
    projection, dropout = layer.to_out
    out: Tensor = dropout(dense(cast(nn.Linear, projection), joined_SLC))
    return out


def split_heads(states_SLC: Tensor, num_heads: int) -> Tensor:
    """[S, L, C] -> [S, M, L, E]."""
    return states_SLC.unflatten(-1, (num_heads, -1)).transpose(1, 2)
