"""diffusers' UNet3DConditionModel in two halves, so that CAM can change the features passed between them.

`encode_half` runs conv_in to the mid block, `decode_half` the up path: the layers of the diffusers class in its order.
CAM runs `encode_half` on its copy of the encoder.

Shapes: A samples, B texts, C channels, F frames, H, W latent rows and columns, N = A*F or B*F frames (batch-major),
L text tokens, D text width, T width of the time embedding. B is a multiple of A: features have batch A before the
first cross-attention layer and batch B after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn

from core.model.networks.blocks import (
    Conditions,
    Transformer,
    block_layers,
    repeat_to_length,
    run_layer,
    transform_along_time,
    upsample,
)
from core.model.networks.cross_attention import repeat_per_frame
from core.model.networks.kernels import normalise
from core.model.networks.layouts import batch_to_frames, frames_to_batch


class EncoderNetwork(Protocol):
    """The modules of a UNet's encoder half, under diffusers' names."""

    conv_in: nn.Conv2d
    time_proj: Callable[[Tensor], Tensor]
    time_embedding: nn.Module
    transformer_in: nn.Module
    down_blocks: nn.ModuleList
    mid_block: nn.Module


@dataclass(frozen=True)
class FirstLevel:
    """Features of the down path at the latents' resolution."""

    skips_NCHW: tuple[Tensor, ...]
    """Output of conv_in, then of each layer."""
    conditions: Conditions


@dataclass(frozen=True)
class EncodedHalf:
    """Output of the encoder half."""

    skips_NCHW: tuple[Tensor, ...]
    """Outputs of conv_in, each down layer and each downsampler (12 at four levels), each [N, C_i, H_i, W_i]."""
    mid_NCHW: Tensor
    conditions: Conditions


def as_encoder(unet: UNet3DConditionModel) -> EncoderNetwork:
    """The encoder half of a whole UNet."""
    return cast(EncoderNetwork, unet)


def embed_timestep(network: EncoderNetwork, timestep: Tensor, num_frames: int) -> Tensor:
    """Time embedding [1, T] of a scalar timestep, or [N, T] of timesteps [B].

    For a scalar, every resnet projects one row and broadcasts it.
    """
    sinusoids = network.time_proj(timestep.reshape(-1)).to(network.conv_in.weight.dtype)
    embedding: Tensor = network.time_embedding(sinusoids)
    return embedding if timestep.ndim == 0 else repeat_per_frame(embedding, num_frames)


def encode_half(
    network: EncoderNetwork,
    latents_ACFHW: Tensor,
    timestep: Tensor,
    text_states_BLD: Tensor,
    added_FCHW: Tensor | None = None,
) -> EncodedHalf:
    """Run conv_in, the input transformer, the down blocks and the mid block.

    `timestep`: scalar or [A]. `added_FCHW` (CAM's picture embedding): [F, C, H, W] for the whole batch or [N, C, H, W],
    added before the down blocks.
    """
    first = encode_first_level(network, latents_ACFHW, timestep, text_states_BLD, added_FCHW)
    skips = list(first.skips_NCHW)
    first_block, *deeper_blocks = network.down_blocks
    _downsample(first_block, skips)
    for block in deeper_blocks:
        _encode_level(block, skips, first.conditions)
        _downsample(block, skips)
    mid_NCHW = skips[-1]
    for layer in block_layers(network.mid_block):
        mid_NCHW = run_layer(layer, mid_NCHW, first.conditions)
    return EncodedHalf(tuple(skips), mid_NCHW, first.conditions)


def encode_first_level(
    network: EncoderNetwork,
    latents_ACFHW: Tensor,
    timestep: Tensor,
    text_states_BLD: Tensor,
    added_FCHW: Tensor | None = None,
) -> FirstLevel:
    """As `encode_half`, for the first resolution only."""
    num_frames = latents_ACFHW.shape[2]
    conditions = Conditions(embed_timestep(network, timestep, num_frames), text_states_BLD, num_frames)
    frames_NCHW = frames_to_batch(latents_ACFHW).contiguous(memory_format=torch.channels_last)
    transformer_in = cast(Transformer, network.transformer_in)
    hidden_NCHW = transform_along_time(transformer_in, network.conv_in(frames_NCHW), num_frames)
    if added_FCHW is not None:
        hidden_NCHW = hidden_NCHW + repeat_to_length(added_FCHW, len(hidden_NCHW))
    skips = [hidden_NCHW]
    _encode_level(network.down_blocks[0], skips, conditions)
    return FirstLevel(tuple(skips), conditions)


def _encode_level(block: nn.Module, skips: list[Tensor], conditions: Conditions) -> None:
    """Append the output of each layer of a down block."""
    for layer in block_layers(block):
        skips.append(run_layer(layer, skips[-1], conditions))


def _downsample(block: nn.Module, skips: list[Tensor]) -> None:
    """Append the downsampled feature; the last block has no downsampler."""
    for downsampler in cast("Sequence[nn.Module]", block.downsamplers or ()):
        skips.append(downsampler(skips[-1]))


def decode_half(unet: UNet3DConditionModel, encoded: EncodedHalf) -> Tensor:
    """Run the up blocks and the output convolution -> prediction [B, C, F, H, W] (epsilon or v, as trained)."""
    return decode_last_level(unet, first_level(unet, encoded), decode_deep_levels(unet, encoded))


def first_level(unet: UNet3DConditionModel, encoded: EncodedHalf) -> FirstLevel:
    """The features that the last up block takes from the encoder half."""
    num_layers = len(cast(nn.ModuleList, unet.up_blocks[-1].resnets))
    return FirstLevel(encoded.skips_NCHW[:num_layers], encoded.conditions)


def decode_deep_levels(unet: UNet3DConditionModel, encoded: EncodedHalf) -> Tensor:
    """Run all up blocks but the last -> deep features [N, C, H, W] at the latents' size."""
    hidden_NCHW = encoded.mid_NCHW
    skips = list(encoded.skips_NCHW)
    for block in list(unet.up_blocks)[:-1]:
        hidden_NCHW = _decode_level(block, hidden_NCHW, skips, encoded.conditions)
        for upsampler in cast("Sequence[nn.Module]", block.upsamplers or ()):
            # The next skip's size: latents need not be a multiple of the total downsampling.
            hidden_NCHW = upsample(upsampler, hidden_NCHW, skips[-1].shape[2:])
    return hidden_NCHW


def decode_last_level(unet: UNet3DConditionModel, first: FirstLevel, deep_NCHW: Tensor) -> Tensor:
    """Run the last up block and the output convolution on deep features and the first level's skips."""
    hidden_NCHW = _decode_level(unet.up_blocks[-1], deep_NCHW, list(first.skips_NCHW), first.conditions)
    if unet.conv_norm_out is not None:
        hidden_NCHW = cast(nn.Module, unet.conv_act)(normalise(unet.conv_norm_out, hidden_NCHW))
    return batch_to_frames(unet.conv_out(hidden_NCHW), first.conditions.num_frames)


def _decode_level(block: nn.Module, hidden_NCHW: Tensor, skips: list[Tensor], conditions: Conditions) -> Tensor:
    """Run an up block's layers; each consumes the last skip of the list."""
    for layer in block_layers(block):
        skip_NCHW = repeat_to_length(skips.pop(), len(hidden_NCHW))
        hidden_NCHW = run_layer(layer, torch.cat([hidden_NCHW, skip_NCHW], dim=1), conditions)
    return hidden_NCHW


def skip_channels(block_out_channels: Sequence[int], layers_per_block: int) -> tuple[int, ...]:
    """Channels of every skip feature of a UNet of these sizes, in forward order."""
    channels = [block_out_channels[0]]
    for level, width in enumerate(block_out_channels):
        downsampled = level < len(block_out_channels) - 1
        channels.extend([width] * (layers_per_block + downsampled))
    return tuple(channels)
