"""diffusers' UNet3DConditionModel run in two halves, so that CAM can act on what passes between them.

`encode_half` is conv_in .. mid block, `decode_half` the up path. They run the layers of the diffusers class in its own
order and contain no layer of their own; the CAM extractor runs the same `encode_half` on its copy of the encoder.
Knows nothing of CAM features, guidance or schedules.

Shapes: A samples, B texts, C channels, F frames, H, W latent rows and columns, N = A*F or B*F frames (batch-major),
L text tokens, D text width, T width of the time embedding. There is one text per sample, or B a multiple of A: then
samples become texts where they first differ, at the first text-reading layer, and all before is computed A times only.
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
    repeated,
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
    """What the down path hands to the up path at the latents' own resolution."""

    skips_NCHW: tuple[Tensor, ...]
    """One of conv_in, one per layer."""
    conditions: Conditions


@dataclass(frozen=True)
class EncodedHalf:
    """What the down path hands to the up path."""

    skips_NCHW: tuple[Tensor, ...]
    """One per conv_in, down layer and downsampler (12 at four levels), each [N, C_i, H_i, W_i]."""
    mid_NCHW: Tensor
    conditions: Conditions


def as_encoder(unet: UNet3DConditionModel) -> EncoderNetwork:
    """The encoder half of a whole UNet."""
    return cast(EncoderNetwork, unet)


def embed_timestep(network: EncoderNetwork, timestep: Tensor, num_frames: int) -> Tensor:
    """Time embedding [1, T] of a scalar timestep, or [N, T] of one timestep per batch item [B].

    One row broadcasts in every resnet, so the usual case (all frames at one noise level) projects it once.
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

    `timestep` is a scalar or [A]; `added_FCHW` ([F, C, H, W] shared by the batch, or [N, C, H, W]) is added before the
    down blocks (CAM's picture embedding).
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
    """As `encode_half`, no further than the first resolution."""
    num_frames = latents_ACFHW.shape[2]
    conditions = Conditions(embed_timestep(network, timestep, num_frames), text_states_BLD, num_frames)
    frames_NCHW = frames_to_batch(latents_ACFHW).contiguous(memory_format=torch.channels_last)
    transformer_in = cast(Transformer, network.transformer_in)
    hidden_NCHW = transform_along_time(transformer_in, network.conv_in(frames_NCHW), num_frames)
    if added_FCHW is not None:
        hidden_NCHW = hidden_NCHW + repeated(added_FCHW, len(hidden_NCHW))
    skips = [hidden_NCHW]
    _encode_level(network.down_blocks[0], skips, conditions)
    return FirstLevel(tuple(skips), conditions)


def _encode_level(block: nn.Module, skips: list[Tensor], conditions: Conditions) -> None:
    """Append the features of a down block's layers."""
    for layer in block_layers(block):
        skips.append(run_layer(layer, skips[-1], conditions))


def _downsample(block: nn.Module, skips: list[Tensor]) -> None:
    """Append the feature at the next resolution; the last block has none."""
    for downsampler in cast("Sequence[nn.Module]", block.downsamplers or ()):
        skips.append(downsampler(skips[-1]))


def decode_half(unet: UNet3DConditionModel, encoded: EncodedHalf) -> Tensor:
    """Run the up blocks and the output convolution: the prediction [B, C, F, H, W] (epsilon or v, as trained)."""
    return decode_last_level(unet, first_level(unet, encoded), decode_deep_levels(unet, encoded))


def first_level(unet: UNet3DConditionModel, encoded: EncodedHalf) -> FirstLevel:
    """What the last up block reads of an encoded half."""
    num_layers = len(cast(nn.ModuleList, unet.up_blocks[-1].resnets))
    return FirstLevel(encoded.skips_NCHW[:num_layers], encoded.conditions)


def decode_deep_levels(unet: UNet3DConditionModel, encoded: EncodedHalf) -> Tensor:
    """All up blocks but the last: deep features [N, C, H, W] at the latents' size."""
    hidden_NCHW = encoded.mid_NCHW
    skips = list(encoded.skips_NCHW)
    for block in list(unet.up_blocks)[:-1]:
        hidden_NCHW = _decode_level(block, hidden_NCHW, skips, encoded.conditions)
        for upsampler in cast("Sequence[nn.Module]", block.upsamplers or ()):
            # The next skip's size: latents need not be a multiple of the total downsampling.
            hidden_NCHW = upsample(upsampler, hidden_NCHW, skips[-1].shape[2:])
    return hidden_NCHW


def decode_last_level(unet: UNet3DConditionModel, first: FirstLevel, deep_NCHW: Tensor) -> Tensor:
    """The last up block and the output convolution, from deep features and the first level's skips."""
    hidden_NCHW = _decode_level(unet.up_blocks[-1], deep_NCHW, list(first.skips_NCHW), first.conditions)
    if unet.conv_norm_out is not None:
        hidden_NCHW = cast(nn.Module, unet.conv_act)(normalise(unet.conv_norm_out, hidden_NCHW))
    return batch_to_frames(unet.conv_out(hidden_NCHW), first.conditions.num_frames)


def _decode_level(block: nn.Module, hidden_NCHW: Tensor, skips: list[Tensor], conditions: Conditions) -> Tensor:
    """An up block's layers; each takes a skip from the end of the list."""
    for layer in block_layers(block):
        skip_NCHW = repeated(skips.pop(), len(hidden_NCHW))
        hidden_NCHW = run_layer(layer, torch.cat([hidden_NCHW, skip_NCHW], dim=1), conditions)
    return hidden_NCHW


def skip_channels(block_out_channels: Sequence[int], layers_per_block: int) -> tuple[int, ...]:
    """Channels of every skip feature of a UNet with these sizes, in forward order."""
    channels = [block_out_channels[0]]
    for level, width in enumerate(block_out_channels):
        downsampled = level < len(block_out_channels) - 1
        channels.extend([width] * (layers_per_block + downsampled))
    return tuple(channels)
