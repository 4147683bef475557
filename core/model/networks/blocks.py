"""The layers of diffusers' 3D blocks, run one by one in diffusers' order: spatial, temporal, convolution, attention.

All weights and layers are those of the diffusers classes; only the way through them is written here, for three reasons:
features keep their channels last in memory, so that hardly anything is copied; convolutions along time run as
two-dimensional ones; and guidance halves that are still alike are computed once, up to the first layer that reads a
text. Knows nothing of down and up paths (unet.py), CAM or schedules.

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
from core.model.networks.kernels import dense, normalise
from core.model.networks.layouts import (
    frames_to_tokens,
    frames_to_video,
    sequences_to_video,
    tokens_to_frames,
    video_to_frames,
    video_to_sequences,
)


class TransformerLayer(Protocol):
    """What is used of diffusers' BasicTransformerBlock."""

    norm1: nn.Module
    attn1: AttentionLayer
    norm2: nn.Module
    attn2: nn.Module
    norm3: nn.Module
    ff: nn.Module


class Transformer(Protocol):
    """What is used of diffusers' Transformer2DModel (with linear projections) and TransformerTemporalModel."""

    norm: nn.Module
    proj_in: nn.Linear
    transformer_blocks: Iterable[TransformerLayer]
    proj_out: nn.Linear


@dataclass(frozen=True)
class Conditions:
    """What every layer of one forward pass reads beside its features."""

    time_NT: Tensor
    """Time embedding, [1, T] where all frames share one timestep, else [N, T]."""
    text_states_BLD: Tensor
    num_frames: int


@dataclass(frozen=True)
class BlockLayer:
    """One layer of a block: always convolutions, at most levels also attention."""

    resnet: nn.Module
    temporal_convolution: nn.Module
    attention: Transformer | None
    temporal_attention: Transformer | None
    recomputed: bool
    """Whether training computes it again for the backward pass instead of keeping what it computed."""


def block_layers(block: nn.Module) -> Iterator[BlockLayer]:
    """The layers of a down, mid or up block; the mid block ends with one that has no attention."""
    parts = cast(Any, block)  # three classes of diffusers with these lists in common
    attentions = getattr(parts, "attentions", ())
    temporal_attentions = getattr(parts, "temp_attentions", ())
    # diffusers' own flag on its blocks; the mid block, the smallest, has none.
    recomputed = getattr(parts, "gradient_checkpointing", False)
    for modules in zip_longest(parts.resnets, parts.temp_convs, attentions, temporal_attentions):
        yield BlockLayer(*modules, recomputed)


def set_gradient_checkpointing(network: nn.Module, on: bool) -> None:
    """Whether training computes the layers of a UNet's (or CAM's) down and up blocks again for the backward pass."""
    parts = cast(Any, network)
    for block in (*parts.down_blocks, *getattr(parts, "up_blocks", ())):
        block.gradient_checkpointing = on


def run_layer(layer: BlockLayer, frames_NCHW: Tensor, conditions: Conditions) -> Tensor:
    """Features [A*F, C, H, W] or [B*F, C, H, W] through one layer."""
    if layer.recomputed and torch.is_grad_enabled():
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
    """diffusers' Upsample2D: nearest pixel, then a 3x3 convolution.

    Doubling repeats every pixel in a square of four, so the two are one transposed convolution whose 4x4 kernel holds
    the sums of the weights that meet the same pixel: 16 products instead of 36 per pixel.
    """
    convolution = cast(nn.Conv2d, upsampler.conv)
    if tuple(size) != tuple(2 * length for length in frames_NCHW.shape[2:]):
        out: Tensor = upsampler(frames_NCHW, size)
        return out
    kernel = _doubling_kernel(convolution.weight)
    return functional.conv_transpose2d(frames_NCHW, kernel, convolution.bias, stride=2, padding=1)


def _doubling_kernel(weight_OI33: Tensor) -> Tensor:
    """[O, I, 3, 3] -> [I, O, 4, 4]."""
    turned_IO33 = weight_OI33.flip(2, 3).transpose(0, 1)
    rows = functional.pad(turned_IO33, (0, 0, 0, 1)) + functional.pad(turned_IO33, (0, 0, 1, 0))
    return functional.pad(rows, (0, 1)) + functional.pad(rows, (1, 0))


def convolve_frames(resnet: Any, frames_NCHW: Tensor, time_NT: Tensor) -> Tensor:
    """diffusers' ResnetBlock2D (annotated as if its parts were optional): two convolutions, the time, the residual."""
    hidden_NCHW = resnet.conv1(resnet.nonlinearity(normalise(resnet.norm1, frames_NCHW)))
    hidden_NCHW = hidden_NCHW + resnet.time_emb_proj(resnet.nonlinearity(time_NT))[:, :, None, None]
    hidden_NCHW = resnet.dropout(resnet.nonlinearity(normalise(resnet.norm2, hidden_NCHW)))
    frames_NCHW = frames_NCHW if resnet.conv_shortcut is None else resnet.conv_shortcut(frames_NCHW)
    out_NCHW: Tensor = (frames_NCHW + resnet.conv2(hidden_NCHW)) / resnet.output_scale_factor
    return out_NCHW


def convolve_along_time(layer: nn.Module, frames_NCHW: Tensor, num_frames: int) -> Tensor:
    """diffusers' TemporalConvLayer: four convolutions over three frames each, and the residual."""
    video = frames_to_video(frames_NCHW, num_frames)
    hidden_ACFQ = video
    for stage in (layer.conv1, layer.conv2, layer.conv3, layer.conv4):
        norm, *between, convolution = cast(nn.Sequential, stage)
        hidden_ACFQ = normalise(norm, hidden_ACFQ)
        for part in between:  # activation, dropout
            hidden_ACFQ = part(hidden_ACFQ)
        hidden_ACFQ = _convolve_three_frames(cast(nn.Conv3d, convolution), hidden_ACFQ)
    return video_to_frames(video + hidden_ACFQ, frames_NCHW.shape[2])


def _convolve_three_frames(convolution: nn.Conv3d, video_ACFQ: Tensor) -> Tensor:
    """A (3, 1, 1) convolution: its last axis sees one pixel, so it is two-dimensional over frames and pixels."""
    return functional.conv2d(video_ACFQ, convolution.weight.squeeze(-1), convolution.bias, padding=(1, 0))


def transform_frames(transformer: Transformer, frames_NCHW: Tensor, text_states_BTD: Tensor, num_frames: int) -> Tensor:
    """diffusers' Transformer2DModel: pixels of a frame attend to each other and to the text -> [B*F, C, H, W].

    Where there are more texts than samples, all before the text is computed once per sample.
    """
    tokens = dense(transformer.proj_in, frames_to_tokens(normalise(transformer.norm, frames_NCHW)))
    for block in transformer.transformer_blocks:
        tokens = tokens + attend(block.attn1, block.norm1(tokens))
        tokens = repeated(tokens, text_states_BTD.shape[0] * num_frames)
        tokens = tokens + block.attn2(block.norm2(tokens), encoder_hidden_states=text_states_BTD)
        tokens = tokens + _feed_forward(block.ff, block.norm3(tokens))
    changed = tokens_to_frames(dense(transformer.proj_out, tokens), frames_NCHW.shape[2])
    return changed + repeated(frames_NCHW, len(changed))


def transform_along_time(transformer: Transformer, frames_NCHW: Tensor, num_frames: int) -> Tensor:
    """diffusers' TransformerTemporalModel: every pixel attends to itself in all frames, twice."""
    video = frames_to_video(frames_NCHW, num_frames)
    sequences_SLC = dense(transformer.proj_in, video_to_sequences(normalise(transformer.norm, video)))
    for block in transformer.transformer_blocks:
        sequences_SLC = sequences_SLC + attend(block.attn1, block.norm1(sequences_SLC))
        sequences_SLC = sequences_SLC + attend(cast(AttentionLayer, block.attn2), block.norm2(sequences_SLC))
        sequences_SLC = sequences_SLC + _feed_forward(block.ff, block.norm3(sequences_SLC))
    changed = sequences_to_video(dense(transformer.proj_out, sequences_SLC), len(video))
    return video_to_frames(video + changed, frames_NCHW.shape[2])


def _feed_forward(layer: nn.Module, states_SLC: Tensor) -> Tensor:
    """diffusers' FeedForward with its gated GELU."""
    gated, dropout, projection = cast(nn.ModuleList, layer.net)
    states, gates = dense(cast(nn.Linear, gated.proj), states_SLC).chunk(2, dim=-1)
    return dense(cast(nn.Linear, projection), dropout(states * functional.gelu(gates)))


def repeated(states: Tensor, length: int) -> Tensor:
    """`states` repeated along the first axis to `length`: what the guidance halves shared becomes each half's own."""
    return states if len(states) == length else torch.cat([states] * (length // len(states)))
