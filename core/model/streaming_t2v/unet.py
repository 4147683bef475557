"""diffusers' UNet3DConditionModel run in two halves, so that CAM can act on what passes between them.

`encode_half` is conv_in .. mid block, `decode_half` the up path. They call the blocks of the diffusers class in its own
order and contain no layer of their own; the CAM extractor runs the same `encode_half` on its copy of the encoder.
Knows nothing of CAM features, guidance or schedules.

Shapes: B batch, C channels, F frames, H, W latent rows and columns, N = B*F (batch-major), L text tokens, D text width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn

from core.model.streaming_t2v.cross_attention import repeat_per_frame


class EncoderNetwork(Protocol):
    """The modules of a UNet's encoder half, under diffusers' names."""

    conv_in: nn.Conv2d
    time_proj: Callable[[Tensor], Tensor]
    time_embedding: nn.Module
    transformer_in: nn.Module
    down_blocks: nn.ModuleList
    mid_block: nn.Module


@dataclass(frozen=True)
class EncodedHalf:
    """What the down path hands to the up path."""

    skips_NCHW: tuple[Tensor, ...]
    """One per conv_in, down resnet and downsampler (12 at four levels), each [N, C_i, H_i, W_i]."""
    mid_NCHW: Tensor
    time_embedding_NT: Tensor
    """[1, T] where all frames share one timestep, else [N, T]."""
    num_frames: int


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


def frames_to_batch(video_BCFHW: Tensor) -> Tensor:
    """[B, C, F, H, W] -> [N, C, H, W]."""
    return video_BCFHW.transpose(1, 2).flatten(0, 1)


def batch_to_frames(frames_NCHW: Tensor, num_frames: int) -> Tensor:
    """[N, C, H, W] -> [B, C, F, H, W]."""
    return frames_NCHW.unflatten(0, (-1, num_frames)).transpose(1, 2)


def encode_half(
    network: EncoderNetwork,
    latents_BCFHW: Tensor,
    timestep: Tensor,
    text_states_BLD: Tensor,
    added_FCHW: Tensor | None = None,
) -> EncodedHalf:
    """Run conv_in, the input transformer, the down blocks and the mid block.

    `timestep` is a scalar or [B]; `added_FCHW` ([F, C, H, W] shared by the batch, or [N, C, H, W]) is added before the
    down blocks (CAM's picture embedding).
    """
    num_frames = latents_BCFHW.shape[2]
    time_NT = embed_timestep(network, timestep, num_frames)
    hidden_NCHW: Tensor = network.conv_in(frames_to_batch(latents_BCFHW))
    hidden_NCHW = network.transformer_in(hidden_NCHW, num_frames=num_frames, return_dict=False)[0]
    if added_FCHW is not None:
        grouped = hidden_NCHW.unflatten(0, (-1, added_FCHW.shape[0]))
        hidden_NCHW = (grouped + added_FCHW).flatten(0, 1)
    skips: list[Tensor] = [hidden_NCHW]
    for block in network.down_blocks:
        hidden_NCHW, new_skips = block(
            hidden_states=hidden_NCHW, temb=time_NT, num_frames=num_frames, **_text_for(block, text_states_BLD)
        )
        skips.extend(new_skips)
    mid_NCHW: Tensor = network.mid_block(
        hidden_NCHW, time_NT, encoder_hidden_states=text_states_BLD, num_frames=num_frames
    )
    return EncodedHalf(tuple(skips), mid_NCHW, time_NT, num_frames)


def decode_half(unet: UNet3DConditionModel, encoded: EncodedHalf, text_states_BLD: Tensor) -> Tensor:
    """Run the up blocks and the output convolution: the prediction [B, C, F, H, W] (epsilon or v, as trained)."""
    hidden_NCHW = encoded.mid_NCHW
    skips = list(encoded.skips_NCHW)
    for block in unet.up_blocks:
        own_skips = _pop_last(skips, len(cast(nn.ModuleList, block.resnets)))
        hidden_NCHW = block(
            hidden_states=hidden_NCHW,
            temb=encoded.time_embedding_NT,
            res_hidden_states_tuple=own_skips,
            # The next skip's size: latents need not be a multiple of the total downsampling.
            upsample_size=skips[-1].shape[2:] if skips else None,
            num_frames=encoded.num_frames,
            **_text_for(block, text_states_BLD),
        )
    if unet.conv_norm_out is not None:
        hidden_NCHW = cast(nn.Module, unet.conv_act)(unet.conv_norm_out(hidden_NCHW))
    return batch_to_frames(unet.conv_out(hidden_NCHW), encoded.num_frames)


def _text_for(block: nn.Module, text_states_BLD: Tensor) -> dict[str, Tensor]:
    """Only blocks with cross-attention take the text."""
    return {"encoder_hidden_states": text_states_BLD} if getattr(block, "has_cross_attention", False) else {}


def _pop_last(skips: list[Tensor], count: int) -> tuple[Tensor, ...]:
    taken = tuple(skips[-count:])
    del skips[-count:]
    return taken


def skip_channels(block_out_channels: Sequence[int], layers_per_block: int) -> tuple[int, ...]:
    """Channels of every skip feature of a UNet with these sizes, in forward order."""
    channels = [block_out_channels[0]]
    for level, width in enumerate(block_out_channels):
        downsampled = level < len(block_out_channels) - 1
        channels.extend([width] * (layers_per_block + downsampled))
    return tuple(channels)
