"""The network of one denoising step in the published order of operations: nothing shared, nothing computed early.

The serving network (network.py) is compared with it: tests and `make golden` compare the numbers of both, benchmarks
their times. Every layer is diffusers' own, called in diffusers' order. Text and image tokens are repeated for every
frame and mixed and projected at every step, both guidance halves are computed whole, conditioning pictures are encoded
at every step, and attention is written out: softmax(q k^T * scale) v. In float32 the order of sums is part of the
result; this one gives the reference's numbers bit for bit (tests/references/README.md).

Knows nothing of samplers, encoders of text and pictures, or files.

Shapes: B batch, C channels, F frames, G conditioning frames, H, W rows and columns, N = B*F or B*G frames
(batch-major), L text tokens, K image tokens, D text width, P, R picture rows and columns.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn

from core.model.engines.streaming_t2v.cam import FrameMerger
from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.networks.cross_attention import Mixer, repeat_per_frame
from core.model.sampling.guidance import guide, num_halves
from core.model.sampling.samplers import Denoiser

BatchPredictor = Callable[[Tensor, int], Tensor]
"""(batch of noisy samples, timestep) -> predictions; the batch is [unconditional, conditional] or [conditional]."""


@dataclass(frozen=True)
class Features:
    """What an encoder half gives."""

    skips_NCHW: tuple[Tensor, ...]
    """One per conv_in, down resnet and downsampler, each [N, C_i, H_i, W_i]."""
    mid_NCHW: Tensor
    time_NT: Tensor
    """Time embedding, one row per frame."""
    num_frames: int


class ReferenceNetwork:
    """The weights of a `StreamingNetwork`, run as published."""

    def __init__(self, network: StreamingNetwork) -> None:
        """`network` is left as it is: its attention is replaced only while a method runs."""
        self._network = network
        self._mixers: dict[str, Mixer] = dict(zip(network.mixers.layer_names, network.mixers.mixers, strict=True))

    def predict(
        self,
        latents_BCFHW: Tensor,
        timestep: Tensor,
        text_states_BLD: Tensor,
        image_tokens_BKD: Tensor | None,
        conditioning_G3PR: Tensor | None,
    ) -> Tensor:
        """Prediction [B, C, F, H, W]. Without image tokens APM is left out, without conditioning frames CAM is.

        `timestep`: scalar or [B]. Conditioning frames in [-1, 1], shared by the batch.
        """
        tokens = text_states_BLD if image_tokens_BKD is None else torch.cat([text_states_BLD, image_tokens_BKD], dim=1)
        base = self.encode(latents_BCFHW, timestep, tokens)
        if conditioning_G3PR is not None:
            base = self.merge(base, self.cam_features(latents_BCFHW, timestep, text_states_BLD, conditioning_G3PR))
        return self.decode(base, tokens)

    def encode(self, latents_BCFHW: Tensor, timestep: Tensor, tokens_BSD: Tensor) -> Features:
        """The base UNet's features for text tokens, or text then image tokens [B, L+K, D]."""
        with explicit_attention(self._network.unet, self._mixers):
            return _encode(self._network.unet, latents_BCFHW, timestep, tokens_BSD)

    def cam_features(
        self, latents_BCFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor, conditioning_G3PR: Tensor
    ) -> Features:
        """CAM's features: of the first G noisy frames and the pictures, which are encoded for each half anew."""
        cam = self._network.cam
        batch, num_pictures = latents_BCFHW.shape[0], conditioning_G3PR.shape[0]
        embedded_NCHW: Tensor = cam.picture_encoder(torch.cat([conditioning_G3PR] * batch))
        with explicit_attention(cam):
            return _encode(cam, latents_BCFHW[:, :, :num_pictures], timestep, text_states_BLD, embedded_NCHW)

    def merge(self, base: Features, features: Features) -> Features:
        """The base's features with CAM's merged in."""
        mergers = self._network.mergers
        with explicit_attention(mergers):
            merged = [
                _merge(cast(FrameMerger, merger), skip, base.num_frames, feature, features.num_frames)
                for merger, skip, feature in zip(mergers.skips, base.skips_NCHW, features.skips_NCHW, strict=True)
            ]
            mid = _merge(mergers.mid, base.mid_NCHW, base.num_frames, features.mid_NCHW, features.num_frames)
        return replace(base, skips_NCHW=tuple(merged), mid_NCHW=mid)

    def decode(self, features: Features, tokens_BSD: Tensor) -> Tensor:
        """The up path and the output convolution: [B, C, F, H, W]."""
        with explicit_attention(self._network.unet, self._mixers):
            return _decode(self._network.unet, features, tokens_BSD)


def predict_base_reference(
    unet: UNet3DConditionModel, latents_BCFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor
) -> Tensor:
    """A base UNet alone, without CAM and APM: the prediction [B, C, F, H, W]."""
    with explicit_attention(unet):
        return _decode(unet, _encode(unet, latents_BCFHW, timestep, text_states_BLD), text_states_BLD)


def guided(predict: BatchPredictor, scale: float) -> Denoiser:
    """A denoiser of one sample [1, ...] over a network that predicts guidance batches: both halves whole."""
    copies = num_halves(scale)

    def denoise(x: Tensor, timestep: int) -> Tensor:
        return guide(predict(torch.cat([x] * copies), timestep), scale)

    return denoise


class ExplicitAttention:
    """diffusers attention processor: softmax(q k^T * scale) v as three operations, one matrix per item and head."""

    def __init__(self, mixer: Mixer | None = None) -> None:
        """`mixer` (APM) turns text and image tokens into the states that are read."""
        self._mixer = mixer

    def __call__(
        self,
        attn: Any,  # diffusers' Attention; its annotations admit layers without projections
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,  # noqa: ARG002 - diffusers passes it; UNet3D never masks
    ) -> Tensor:
        """Hidden states [N, Q, C] reading [N, S, D], or themselves."""
        read = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if self._mixer is not None:
            read = self._mixer(read)
        projected = (attn.to_q(hidden_states), attn.to_k(read), attn.to_v(read))
        queries, keys, values = (attn.head_to_batch_dim(states).contiguous() for states in projected)
        weights = (queries @ keys.transpose(-1, -2) * attn.scale).softmax(dim=-1)
        projection, dropout = attn.to_out
        out: Tensor = dropout(projection(attn.batch_to_head_dim(weights @ values)))
        return out


@contextmanager
def explicit_attention(module: nn.Module, mixers: Mapping[str, Mixer] | None = None) -> Generator[None, None, None]:
    """Within the block every attention layer of `module` is `ExplicitAttention`; then each is what it was.

    `mixers` go by the name of the transformer whose text-reading layer they serve ("down_blocks.0.attentions.1").
    """
    mixer_of = {f"{name}.transformer_blocks.0.attn2": mixer for name, mixer in (mixers or {}).items()}
    layers = {name: cast(Any, layer) for name, layer in module.named_modules() if isinstance(layer, Attention)}
    before = {name: layer.get_processor() for name, layer in layers.items()}
    for name, layer in layers.items():
        layer.set_processor(ExplicitAttention(mixer_of.get(name)))
    try:
        yield
    finally:
        for name, layer in layers.items():
            layer.set_processor(before[name])


def _encode(
    network: Any,  # a UNet3DConditionModel or CAM's copy of its encoder half
    latents_BCFHW: Tensor,
    timestep: Tensor,
    tokens_BSD: Tensor,
    added_NCHW: Tensor | None = None,
) -> Features:
    """conv_in, input transformer, down blocks, mid block; `added_NCHW` joins before the down blocks."""
    batch, _, num_frames = latents_BCFHW.shape[:3]
    sinusoids = network.time_proj(timestep.expand(batch)).to(latents_BCFHW.dtype)
    time_NT = repeat_per_frame(network.time_embedding(sinusoids), num_frames)
    tokens_NSD = repeat_per_frame(tokens_BSD, num_frames)
    hidden_NCHW = network.conv_in(latents_BCFHW.transpose(1, 2).flatten(0, 1))
    hidden_NCHW = network.transformer_in(hidden_NCHW, num_frames=num_frames, return_dict=False)[0]
    if added_NCHW is not None:
        hidden_NCHW = hidden_NCHW + added_NCHW
    skips: list[Tensor] = [hidden_NCHW]
    for block in network.down_blocks:
        text = _text_for(block, tokens_NSD)
        hidden_NCHW, new_skips = block(hidden_states=hidden_NCHW, temb=time_NT, num_frames=num_frames, **text)
        skips.extend(new_skips)
    mid_NCHW = network.mid_block(hidden_NCHW, time_NT, encoder_hidden_states=tokens_NSD, num_frames=num_frames)
    return Features(tuple(skips), mid_NCHW, time_NT, num_frames)


def _decode(unet: Any, features: Features, tokens_BSD: Tensor) -> Tensor:
    """Up blocks and output convolution of a UNet3DConditionModel."""
    num_frames = features.num_frames
    tokens_NSD = repeat_per_frame(tokens_BSD, num_frames)
    hidden_NCHW, skips = features.mid_NCHW, list(features.skips_NCHW)
    for block in unet.up_blocks:
        count = len(block.resnets)
        own_skips, skips = tuple(skips[-count:]), skips[:-count]
        hidden_NCHW = block(
            hidden_states=hidden_NCHW,
            temb=features.time_NT,
            res_hidden_states_tuple=own_skips,
            # The next skip's size: latents need not be a multiple of the total downsampling.
            upsample_size=skips[-1].shape[2:] if skips else None,
            num_frames=num_frames,
            **_text_for(block, tokens_NSD),
        )
    out_NCHW: Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden_NCHW)))
    return out_NCHW.unflatten(0, (-1, num_frames)).transpose(1, 2)


def _text_for(block: Any, tokens_NSD: Tensor) -> dict[str, Tensor]:
    """Only blocks with cross-attention take the text."""
    return {"encoder_hidden_states": tokens_NSD} if getattr(block, "has_cross_attention", False) else {}


def _merge(
    merger: FrameMerger, skip_NCHW: Tensor, num_frames: int, feature_NCHW: Tensor, num_feature_frames: int
) -> Tensor:
    """skip + proj_out(attention(proj_in(norm(skip)), feature)), one sequence of frames per pixel."""
    height, width = skip_NCHW.shape[-2:]
    skip_BCFHW = skip_NCHW.unflatten(0, (-1, num_frames)).transpose(1, 2)
    feature_BCGHW = feature_NCHW.unflatten(0, (-1, num_feature_frames)).transpose(1, 2)
    queries = merger.proj_in(_per_pixel(merger.norm(skip_BCFHW)))
    read: Tensor = merger.proj_out(merger.attention(queries, encoder_hidden_states=_per_pixel(feature_BCGHW)))
    return skip_NCHW + read.unflatten(0, (-1, height, width)).permute(0, 3, 4, 1, 2).flatten(0, 1)


def _per_pixel(video_BCFHW: Tensor) -> Tensor:
    """[B, C, F, H, W] -> [B*H*W, F, C]."""
    return video_BCFHW.permute(0, 3, 4, 2, 1).flatten(0, 2)
