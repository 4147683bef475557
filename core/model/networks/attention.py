"""Attention with the weights of a diffusers attention layer and torch's fused kernels.

Shapes: S sequences, L positions, K key positions, C channels, M heads, E head width.
"""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.kernels import dense

MAX_SEQUENCES_PER_CALL = 65_535
"""Limit of a CUDA grid. Temporal attention has one sequence per pixel, which can exceed it."""


class AttentionLayer(Protocol):
    """The part of diffusers' Attention used here; diffusers annotates the projections as optional."""

    heads: int
    to_q: nn.Linear
    to_k: nn.Linear
    to_v: nn.Linear
    to_out: nn.ModuleList

    def get_processor(self) -> Any:
        """The current attention processor."""
        ...

    def set_processor(self, processor: Any) -> None:
        """Replace the attention processor."""
        ...


def attend(layer: AttentionLayer, states_SLC: Tensor, read_SKC: Tensor | None = None) -> Tensor:
    """Cross-attention of states [S, L, C] to `read_SKC` [S, K, C], or self-attention without it -> [S, L, C]."""
    read = states_SLC if read_SKC is None else read_SKC
    attended_SMLE = fused_attention(
        split_heads(dense(layer.to_q, states_SLC), layer.heads),
        split_heads(dense(layer.to_k, read), layer.heads),
        split_heads(dense(layer.to_v, read), layer.heads),
        MAX_SEQUENCES_PER_CALL if states_SLC.is_cuda else len(states_SLC),
    )
    return project_out(layer, attended_SMLE.transpose(1, 2).flatten(2))


def fused_attention(queries_SMLE: Tensor, keys_SMKE: Tensor, values_SMKE: Tensor, max_sequences: int) -> Tensor:
    """torch's scaled dot-product attention [S, M, L, E], in calls of at most `max_sequences` sequences."""
    parts = (each.split(max_sequences) for each in (queries_SMLE, keys_SMKE, values_SMKE))
    attended = [functional.scaled_dot_product_attention(*part) for part in zip(*parts, strict=True)]
    return attended[0] if len(attended) == 1 else torch.cat(attended)


def project_out(layer: AttentionLayer, joined_SLC: Tensor) -> Tensor:
    """The layer's output projection, with its dropout."""
    projection, dropout = layer.to_out
    out: Tensor = dropout(dense(cast(nn.Linear, projection), joined_SLC))
    return out


def split_heads(states_SLC: Tensor, num_heads: int) -> Tensor:
    """[S, L, C] -> [S, M, L, E]."""
    return states_SLC.unflatten(-1, (num_heads, -1)).transpose(1, 2)
