"""Networks with random weights for benchmarks: time and memory do not depend on the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import PUBLISHED_PICTURE_CHANNELS, CamFeatureExtractor, CamMergers
from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.refinement.unet import with_vid2vid_resampling

SEED = 0


@dataclass(frozen=True)
class Size:
    """Sizes that the cost of a step depends on. The defaults are the published model at 256x256."""

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    head_dim: int = 64
    text_width: int = 1024
    text_tokens: int = 77
    image_tokens: int = 16
    layers_per_block: int = 2
    norm_groups: int = 32
    latent_size: int = 32
    vae_widths: tuple[int, ...] = (128, 256, 512, 512)
    encoder_layers: tuple[int, int] = (24, 32)
    """Of the text and of the picture encoder: OpenCLIP's ViT-H/14."""
    picture_width: int = 1280
    """Of the picture encoder; its heads have 80 channels, those of the text encoder 64."""
    picture_size: int = 224
    vocabulary: int = 49408


FULL_SIZE = Size()
NARROW = Size(widths=(128, 256, 512, 512))
TINY = Size((16, 32), 8, 32, 8, 4, 1, 8, 16, (8, 8, 8, 8), (1, 1), 16, 28, 100)
EMBEDDING_WIDTH = 1024
"""Of images, the token expander's input."""


@dataclass(frozen=True)
class Inputs:
    """What one step and one window read; the halves of guidance are [unconditional, conditional]."""

    latents_1CFHW: Tensor
    text_2LD: Tensor
    tokens_2KD: Tensor
    past_G3PR: Tensor


def random_network(size: Size) -> StreamingNetwork:
    """A network on torch's current default device, float32, in evaluation mode, without zero weights."""
    unet = _random_unet(size)
    full_config = dict(cast(Any, unet.config))
    network = StreamingNetwork(
        unet,
        CamFeatureExtractor(full_config, PUBLISHED_PICTURE_CHANNELS),
        CamMergers.for_unet(full_config),
        ApmMixers.for_unet(unet, size.text_tokens, size.image_tokens),
        TokenExpander(EMBEDDING_WIDTH, 1280, size.image_tokens, size.text_width),
    )
    for part in network.parts.values():
        _ready(part)
    return network


def random_base_unet(size: Size) -> UNet3DConditionModel:
    """A base UNet by itself, as `random_network`."""
    unet = _random_unet(size)
    _ready(unet)
    return unet


def random_refiner_unet(size: Size) -> UNet3DConditionModel:
    """MS-Vid2Vid-XL's network, as `random_network`."""
    return with_vid2vid_resampling(random_base_unet(size))


def _random_unet(size: Size) -> UNet3DConditionModel:
    levels = len(size.widths)
    config: dict[str, Any] = {
        "block_out_channels": size.widths,
        "down_block_types": ("CrossAttnDownBlock3D",) * (levels - 1) + ("DownBlock3D",),
        "up_block_types": ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * (levels - 1),
        "attention_head_dim": size.head_dim,
        "cross_attention_dim": size.text_width,
        "layers_per_block": size.layers_per_block,
        "norm_num_groups": size.norm_groups,
    }
    torch.manual_seed(SEED)
    return UNet3DConditionModel(**config)


def _ready(part: nn.Module) -> None:
    part.eval().requires_grad_(False)
    for weight in part.parameters():
        if weight.device.type != "meta" and not weight.any():
            weight.normal_(std=0.02)


def random_vae(size: Size) -> AutoencoderKL:
    """An autoencoder on torch's current default device, float32, in evaluation mode."""
    levels = len(size.vae_widths)
    sizes: dict[str, Any] = {
        "block_out_channels": size.vae_widths,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "layers_per_block": 2,
        "norm_num_groups": min(32, size.vae_widths[0]),
    }
    return AutoencoderKL(**sizes).eval().requires_grad_(False)


def random_text_encoder(size: Size) -> CLIPTextModel:
    """OpenCLIP's text encoder on torch's current default device, float32, in evaluation mode."""
    config = CLIPTextConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.text_width,
        intermediate_size=4 * size.text_width,
        num_hidden_layers=size.encoder_layers[0],
        num_attention_heads=max(1, size.text_width // 64),
        max_position_embeddings=size.text_tokens,
        bos_token_id=0,
        eos_token_id=1,
    )
    return CLIPTextModel(config).eval().requires_grad_(False)


def random_picture_encoder(size: Size) -> CLIPVisionModelWithProjection:
    """OpenCLIP's picture encoder, as `random_text_encoder`."""
    config = CLIPVisionConfig(
        hidden_size=size.picture_width,
        intermediate_size=4 * size.picture_width,
        projection_dim=EMBEDDING_WIDTH,
        num_hidden_layers=size.encoder_layers[1],
        num_attention_heads=max(1, size.picture_width // 80),
        image_size=size.picture_size,
        patch_size=14,
    )
    return CLIPVisionModelWithProjection(config).eval().requires_grad_(False)


def random_inputs(size: Size, dtype: torch.dtype = torch.float32) -> Inputs:
    """Inputs of a step on torch's current default device."""
    torch.manual_seed(SEED + 1)
    pixels = 8 * size.latent_size
    shapes = (
        (1, 4, 16, size.latent_size, size.latent_size),
        (2, size.text_tokens, size.text_width),
        (2, size.image_tokens, size.text_width),
        (8, 3, pixels, pixels),
    )
    return Inputs(*(torch.randn(shape).to(dtype) for shape in shapes))
