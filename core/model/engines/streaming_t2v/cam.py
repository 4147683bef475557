"""CAM, the conditional attention module: short-term memory of StreamingT2V (arXiv 2403.14773, section 4.1).

A copy of the UNet's encoder half encodes the noisy latents of a window's first frames and the conditioning frames that
they repeat. Its features are merged into the UNet's skip and mid features by attention along time.

Shapes: B batch, C channels, F frames of a window, G conditioning frames, H, W latent rows and columns, P, R picture
rows and columns, N = B*F or B*G (batch-major).
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.attention import AttentionLayer, attend
from core.model.networks.cross_attention import SharedTextLayers
from core.model.networks.kernels import dense, normalise
from core.model.networks.layouts import frames_to_video, sequences_to_video, video_to_frames, video_to_sequences
from core.model.networks.unet_halves import (
    EncodedHalf,
    EncoderNetwork,
    FirstLevel,
    encode_first_level,
    encode_half,
    skip_channels,
)

PUBLISHED_PICTURE_CHANNELS = (32, 96, 256, 512)
"""Picture encoder channels of the released model at full, half, quarter and eighth resolution."""
_MERGER_NORM_EPS = 1e-6
Layer = TypeVar("Layer", bound=nn.Module)


class PictureEncoder(nn.Module):
    """Convolutions from conditioning frames to the UNet's first feature size, without normalisation.

    Independent of timestep and text: computed once per window.
    """

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        """`channels`: one per resolution, each half of the one before (4 for a factor of 8)."""
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, wider in pairwise(channels):
            self.blocks.append(nn.Conv2d(width, width, 3, padding=1))
            self.blocks.append(nn.Conv2d(width, wider, 3, padding=1, stride=2))
        self.conv_out = _zeroed(nn.Conv2d(channels[-1], out_channels, 3, padding=1))

    def forward(self, pictures_N3PR: Tensor) -> Tensor:
        """Pictures [N, 3, P, R] in [-1, 1] -> [N, C, H, W]."""
        hidden = functional.silu(self.conv_in(pictures_N3PR))
        for block in self.blocks:
            hidden = functional.silu(block(hidden))
        out: Tensor = self.conv_out(hidden)
        return out


class CamFeatureExtractor(nn.Module):
    """The encoder half of a UNet, under diffusers' module names, and the picture encoder.

    Initialised with the base UNet's weights (`from_unet`) and trained separately.
    """

    def __init__(
        self, unet_config: dict[str, Any], picture_channels: Sequence[int], num_conditioning_frames: int = 8
    ) -> None:
        """`unet_config`: the base UNet's config."""
        super().__init__()
        self._adopt_encoder(cast(UNet3DConditionModel, UNet3DConditionModel.from_config(unet_config)))
        self.picture_encoder = PictureEncoder(picture_channels, self.conv_in.out_channels)
        self.num_conditioning_frames = num_conditioning_frames
        self.text_layers = SharedTextLayers(self).inject()

    @classmethod
    def from_unet(
        cls, unet: UNet3DConditionModel, picture_channels: Sequence[int], num_conditioning_frames: int = 8
    ) -> "CamFeatureExtractor":
        """An extractor with a copy of the encoder of `unet`; its picture encoder outputs zero before training."""
        extractor = cls(dict(unet.config), picture_channels, num_conditioning_frames)
        own = extractor.state_dict()
        base = {name: weight for name, weight in unet.state_dict().items() if name in own}
        extractor.load_state_dict(copy.deepcopy(base), strict=False)
        return extractor

    def _adopt_encoder(self, unet: UNet3DConditionModel) -> None:
        """Take over the encoder modules of a new UNet, without its up path."""
        self.conv_in: nn.Conv2d = unet.conv_in
        self.time_proj = unet.time_proj
        self.time_embedding = unet.time_embedding
        self.transformer_in = unet.transformer_in
        self.down_blocks = unet.down_blocks
        self.mid_block = unet.mid_block

    def embed_pictures(self, conditioning_frames: Tensor) -> Tensor:
        """Pictures [G, 3, P, R] or [B, G, 3, P, R] in [-1, 1] -> [G, C, H, W] or [B*G, C, H, W]."""
        pictures = conditioning_frames.flatten(0, -4)
        embedded: Tensor = self.picture_encoder(pictures)
        return embedded

    def forward(
        self, latents_BCFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor, embedded_pictures: Tensor
    ) -> EncodedHalf:
        """CAM features of a window: skips and mid, each [B*G, C_i, H_i, W_i].

        Reads only the first G frames of the noisy latents: those that repeat the G conditioning frames.
        """
        repeated = latents_BCFHW[:, :, : self.num_conditioning_frames]
        return encode_half(cast(EncoderNetwork, self), repeated, timestep, text_states_BLD, embedded_pictures)

    def first_level(
        self, latents_BCFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor, embedded_pictures: Tensor
    ) -> FirstLevel:
        """As `forward`, for the first resolution only."""
        repeated = latents_BCFHW[:, :, : self.num_conditioning_frames]
        return encode_first_level(cast(EncoderNetwork, self), repeated, timestep, text_states_BLD, embedded_pictures)


class FrameMerger(nn.Module):
    """Residual attention along time, per pixel: every frame of the window attends to the frames of the CAM feature."""

    def __init__(self, channels: int, head_dim: int, norm_groups: int) -> None:
        """Initialised as the identity: the output projection is zero."""
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, eps=_MERGER_NORM_EPS)
        self.proj_in = nn.Linear(channels, channels)
        self.attention = Attention(
            channels, cross_attention_dim=channels, heads=channels // head_dim, dim_head=head_dim, out_bias=True
        )
        self.proj_out = _zeroed(nn.Linear(channels, channels))

    def forward(self, skip_NCHW: Tensor, num_frames: int, feature_NCHW: Tensor, num_feature_frames: int) -> Tensor:
        """Base feature [B*F, C, H, W] and CAM feature [B*G, C, H, W] -> merged [B*F, C, H, W]."""
        skip_BCFQ = frames_to_video(skip_NCHW, num_frames)
        queries = dense(self.proj_in, video_to_sequences(normalise(self.norm, skip_BCFQ)))
        feature = video_to_sequences(frames_to_video(feature_NCHW, num_feature_frames))
        read = dense(self.proj_out, attend(cast(AttentionLayer, self.attention), queries, feature))
        merged_BCFQ = skip_BCFQ + sequences_to_video(read, len(skip_BCFQ))
        return video_to_frames(merged_BCFQ, skip_NCHW.shape[2])


class CamMergers(nn.Module):
    """One merger per skip feature and one for the mid feature (12 + 1 at four levels)."""

    def __init__(self, skip_widths: Sequence[int], mid_width: int, head_dim: int, norm_groups: int) -> None:
        """Sizes of the UNet's features; see `for_unet`."""
        super().__init__()
        self.skips = nn.ModuleList(FrameMerger(width, head_dim, norm_groups) for width in skip_widths)
        self.mid = FrameMerger(mid_width, head_dim, norm_groups)

    @classmethod
    def for_unet(cls, unet_config: dict[str, Any]) -> "CamMergers":
        """Mergers for a UNet of this config, with the head width of its attention."""
        widths: Sequence[int] = unet_config["block_out_channels"]
        return cls(
            skip_channels(widths, unet_config["layers_per_block"]),
            widths[-1],
            unet_config["attention_head_dim"],
            unet_config["norm_num_groups"],
        )

    def forward(self, base: EncodedHalf, features: EncodedHalf) -> EncodedHalf:
        """The UNet's encoded half with the CAM features merged in."""
        skips = self._merge_skips(base, features)
        frames = (base.conditions.num_frames, features.conditions.num_frames)
        return replace(
            base, skips_NCHW=skips, mid_NCHW=self.mid(base.mid_NCHW, frames[0], features.mid_NCHW, frames[1])
        )

    def merge_first_level(self, base: FirstLevel, features: FirstLevel) -> FirstLevel:
        """As `forward`, for the skips of the first resolution only."""
        return replace(base, skips_NCHW=self._merge_skips(base, features))

    def _merge_skips(self, base: EncodedHalf | FirstLevel, features: EncodedHalf | FirstLevel) -> tuple[Tensor, ...]:
        frames = (base.conditions.num_frames, features.conditions.num_frames)
        mergers = list(self.skips)[: len(base.skips_NCHW)]
        return tuple(
            merger(skip, frames[0], feature, frames[1])
            for merger, skip, feature in zip(mergers, base.skips_NCHW, features.skips_NCHW, strict=True)
        )


def _zeroed(layer: Layer) -> Layer:
    """Set every parameter of `layer` to zero; returns `layer`."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    return layer
