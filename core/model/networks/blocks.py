"""The layers of diffusers' 3D blocks, run one by one in diffusers' order: spatial, temporal, convolution, attention.

Weights and layers are those of the diffusers classes; only the forward pass is written here, for three reasons:
features stay in channels-last memory format, so few copies are made; temporal convolutions run as two-dimensional ones;
and both halves of guidance share one computation up to the first cross-attention layer. Down and up paths are in
unet_halves.py.

Shapes: A samples, B texts (a multiple of A), C channels, F frames, H, W rows and columns, Q = H*W pixels, N = A*F or
B*F frames (batch-major), S sequences of L positions, T text tokens, D text width.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from core.model.networks.attention import AttentionLayer, attend
from core.model.networks.derived import derived
from core.model.networks.kernels import convolve, dense, dense_added, gated_gelu, normalise
from core.model.networks.layouts import (
    frames_to_tokens,
    frames_to_video,
    sequences_to_video,
    tokens_to_frames,
    video_to_frames,
    video_to_sequences,
)


class TransformerLayer(Protocol):
    """The part of diffusers' BasicTransformerBlock used here."""

    norm1: nn.Module
    attn1: AttentionLayer
    norm2: nn.Module
    attn2: nn.Module
    norm3: nn.Module
    ff: nn.Module


class Transformer(Protocol):
    """The common part of diffusers' Transformer2DModel (with linear projections) and TransformerTemporalModel."""

    norm: nn.Module
    proj_in: nn.Linear
    transformer_blocks: Iterable[TransformerLayer]
    proj_out: nn.Linear


@dataclass(frozen=True)
class Conditions:
    """Inputs that all layers of one forward pass share."""

    time_NT: Tensor
    """Time embedding: [1, T] if all frames share one timestep, else [A*F, T]."""
    text_states_BLD: Tensor
    num_frames: int


@dataclass(frozen=True)
class BlockLayer:
    """One layer of a block: a resnet and a temporal convolution; attention except at the lowest resolution."""

    resnet: nn.Module
    temporal_convolution: nn.Module
    attention: Transformer | None
    temporal_attention: Transformer | None
    checkpointed: bool
    """Whether training recomputes the layer in the backward pass (gradient checkpointing)."""


def block_layers(block: nn.Module) -> Iterator[BlockLayer]:
    """The layers of a down, mid or up block. The mid block's last layer has no attention."""
    parts = cast(Any, block)  # three diffusers classes share these lists
    attentions = getattr(parts, "attentions", ())
    temporal_attentions = getattr(parts, "temp_attentions", ())
    # diffusers' flag on its blocks; the mid block has none.
    checkpointed = getattr(parts, "gradient_checkpointing", False)
    for modules in zip_longest(parts.resnets, parts.temp_convs, attentions, temporal_attentions):
        yield BlockLayer(*modules, checkpointed)


def set_gradient_checkpointing(network: nn.Module, on: bool) -> None:
    """Turn gradient checkpointing of the down and up blocks of a UNet (or of CAM) on or off."""
    parts = cast(Any, network)
    for block in (*parts.down_blocks, *getattr(parts, "up_blocks", ())):
        block.gradient_checkpointing = on


def run_layer(layer: BlockLayer, frames_NCHW: Tensor, conditions: Conditions) -> Tensor:
    """Apply one layer to features [A*F, C, H, W] or [B*F, C, H, W]; after cross-attention the batch is B."""
    if layer.checkpointed and torch.is_grad_enabled():
        out: Tensor = checkpoint(_run_layer, layer, frames_NCHW, conditions, use_reentrant=False)
        return out
    return _run_layer(layer, frames_NCHW, conditions)


def _run_layer(layer: BlockLayer, frames_NCHW: Tensor, conditions: Conditions) -> Tensor:
    hidden = convolve_frames(layer.resnet, frames_NCHW, conditions.time_NT)
    hidden = convolve_along_time(layer.temporal_convolution, hidden, conditions.num_frames)
    if layer.attention is None or layer.temporal_attention is None:
        return hidden
    hidden = transform_frames(layer.attention, hidden, conditions.text_states_BLD, conditions.num_frames)
    return transform_along_time(layer.temporal_attention, hidden, conditions.num_frames)


def upsample(upsampler: nn.Module, frames_NCHW: Tensor, size: tuple[int, ...]) -> Tensor:
    """diffusers' Upsample2D: nearest-neighbour upsampling, then a 3x3 convolution -> [N, C, *size].

    For a factor of 2 both steps equal one transposed convolution whose 4x4 kernel holds sums of the 3x3 weights: 16
    products per pixel instead of 36.
    """
    convolution = cast(nn.Conv2d, upsampler.conv)
    if tuple(size) != tuple(2 * length for length in frames_NCHW.shape[2:]):
        out: Tensor = upsampler(frames_NCHW, size)
        return out
    kernel = derived(convolution, "doubling", (convolution.weight,), lambda: _doubling_kernel(convolution.weight))
    return functional.conv_transpose2d(frames_NCHW, kernel, convolution.bias, stride=2, padding=1)


def _doubling_kernel(weight_OI33: Tensor) -> Tensor:
    """[O, I, 3, 3] -> [I, O, 4, 4]."""
    flipped_IO33 = weight_OI33.flip(2, 3).transpose(0, 1)
    rows = functional.pad(flipped_IO33, (0, 0, 0, 1)) + functional.pad(flipped_IO33, (0, 0, 1, 0))
    return functional.pad(rows, (0, 1)) + functional.pad(rows, (1, 0))


def convolve_frames(resnet: Any, frames_NCHW: Tensor, time_NT: Tensor) -> Tensor:
    """diffusers' ResnetBlock2D (its annotations make parts optional): two convolutions, time embedding, residual."""
    hidden_NCHW = convolve(resnet.conv1, functional.silu(normalise(resnet.norm1, frames_NCHW)))
    time_NC11 = dense(resnet.time_emb_proj, functional.silu(time_NT))[:, :, None, None]
    hidden_NCHW = hidden_NCHW + (time_NC11 if len(time_NC11) == 1 else repeat_to_length(time_NC11, len(hidden_NCHW)))
    hidden_NCHW = resnet.dropout(functional.silu(normalise(resnet.norm2, hidden_NCHW)))
    frames_NCHW = frames_NCHW if resnet.conv_shortcut is None else convolve(resnet.conv_shortcut, frames_NCHW)
    out_NCHW = convolve(resnet.conv2, hidden_NCHW, frames_NCHW)
    return out_NCHW if resnet.output_scale_factor == 1 else out_NCHW / resnet.output_scale_factor


def convolve_along_time(layer: nn.Module, frames_NCHW: Tensor, num_frames: int) -> Tensor:
    """diffusers' TemporalConvLayer: four convolutions over three frames each, with a residual."""
    video = frames_to_video(frames_NCHW, num_frames)
    hidden_ACFQ = video
    for stage in (layer.conv1, layer.conv2, layer.conv3, layer.conv4):
        norm, *between, convolution = cast(nn.Sequential, stage)
        hidden_ACFQ = normalise(norm, hidden_ACFQ)
        for part in between:  # activation, dropout
            hidden_ACFQ = part(hidden_ACFQ)
        hidden_ACFQ = convolve(cast(nn.Conv3d, convolution), hidden_ACFQ)
    return video_to_frames(video + hidden_ACFQ, frames_NCHW.shape[2])


def transform_frames(transformer: Transformer, frames_NCHW: Tensor, text_states_BTD: Tensor, num_frames: int) -> Tensor:
    """diffusers' Transformer2DModel: self-attention within each frame, then cross-attention to the text.

    Returns [B*F, C, H, W]. With more texts than samples, everything before cross-attention runs once per sample.
    """
    tokens = dense(transformer.proj_in, frames_to_tokens(normalise(transformer.norm, frames_NCHW)))
    for block in transformer.transformer_blocks:
        tokens = tokens + attend(block.attn1, block.norm1(tokens))
        tokens = repeat_to_length(tokens, text_states_BTD.shape[0] * num_frames)
        tokens = tokens + block.attn2(block.norm2(tokens), encoder_hidden_states=text_states_BTD)
        tokens = _feed_forward(block.ff, block.norm3(tokens), tokens)
    changed = tokens_to_frames(dense(transformer.proj_out, tokens), frames_NCHW.shape[2])
    return changed + repeat_to_length(frames_NCHW, len(changed))


def transform_along_time(transformer: Transformer, frames_NCHW: Tensor, num_frames: int) -> Tensor:
    """diffusers' TransformerTemporalModel: two self-attentions along time, one sequence per pixel."""
    video = frames_to_video(frames_NCHW, num_frames)
    sequences_SLC = dense(transformer.proj_in, video_to_sequences(normalise(transformer.norm, video)))
    for block in transformer.transformer_blocks:
        sequences_SLC = sequences_SLC + attend(block.attn1, block.norm1(sequences_SLC))
        sequences_SLC = sequences_SLC + attend(cast(AttentionLayer, block.attn2), block.norm2(sequences_SLC))
        sequences_SLC = _feed_forward(block.ff, block.norm3(sequences_SLC), sequences_SLC)
    changed = sequences_to_video(dense(transformer.proj_out, sequences_SLC), len(video))
    return video_to_frames(video + changed, frames_NCHW.shape[2])


def _feed_forward(layer: nn.Module, states_SLC: Tensor, residual_SLC: Tensor) -> Tensor:
    """diffusers' FeedForward with its gated GELU, and its residual."""
    gated, dropout, projection = cast(nn.ModuleList, layer.net)
    hidden = dropout(gated_gelu(cast(nn.Linear, gated.proj), states_SLC))
    return dense_added(cast(nn.Linear, projection), hidden, residual_SLC)


def repeat_to_length(states: Tensor, length: int) -> Tensor:
    """Repeat `states` along the first axis to `length`, a multiple: from one copy per sample to one per text."""
    return states if len(states) == length else torch.cat([states] * (length // len(states)))
