"""config.json of networks from their sizes; the defaults are the published models.

What shapes do not determine (norm groups, heads of the CLIP towers, activations) is as published, as far as the widths
allow.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from core.model.convert.open_clip import TextSizes, VisualSizes
from core.model.engines.streaming_t2v.cam import PUBLISHED_PICTURE_CHANNELS

Config = dict[str, Any]

NUM_CONDITIONING_FRAMES = 8
_NORM_GROUPS = 32
_TEXT_HEAD_WIDTH = 64
_VISUAL_HEAD_WIDTH = 80


def unet_config(
    widths: tuple[int, ...] = (320, 640, 1280, 1280),
    layers_per_block: int = 2,
    text_width: int = 1024,
    head_width: int = 64,
    latent_channels: int = 4,
    attention: tuple[bool, ...] = (True, True, True, False),
) -> Config:
    """config.json of a UNet3DConditionModel; the defaults are ModelScope 1.7B's. `attention`: per down block."""
    return {
        "_class_name": "UNet3DConditionModel",
        "sample_size": 32,
        "in_channels": latent_channels,
        "out_channels": latent_channels,
        "down_block_types": ["CrossAttnDownBlock3D" if has else "DownBlock3D" for has in attention],
        "up_block_types": ["CrossAttnUpBlock3D" if has else "UpBlock3D" for has in reversed(attention)],
        "block_out_channels": list(widths),
        "layers_per_block": layers_per_block,
        "cross_attention_dim": text_width,
        "attention_head_dim": head_width,
        "norm_num_groups": _norm_groups(widths),
        "norm_eps": 1e-5,
        "act_fn": "silu",
    }


def vae_config(
    widths: tuple[int, ...] = (128, 256, 512, 512), layers_per_block: int = 2, latent_channels: int = 4
) -> Config:
    """config.json of an AutoencoderKL; the defaults are Stable Diffusion's."""
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "block_out_channels": list(widths),
        "layers_per_block": layers_per_block,
        "latent_channels": latent_channels,
        "norm_num_groups": _norm_groups(widths),
        "scaling_factor": 0.18215,
        "act_fn": "silu",
        "sample_size": 512,
    }


def text_config(sizes: TextSizes) -> Config:
    """config.json of a CLIPTextModel with all of these layers. Pads with token 0, as the models were trained."""
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.inner_width,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": _num_heads(sizes.width, _TEXT_HEAD_WIDTH),
        "max_position_embeddings": sizes.num_positions,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "pad_token_id": 0,
        "bos_token_id": sizes.vocabulary - 2,
        "eos_token_id": sizes.vocabulary - 1,
    }


def vision_config(sizes: VisualSizes) -> Config:
    """config.json of a CLIPVisionModelWithProjection."""
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_size": sizes.width,
        "intermediate_size": sizes.inner_width,
        "projection_dim": sizes.embedding_width,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": _num_heads(sizes.width, _VISUAL_HEAD_WIDTH),
        "image_size": sizes.picture_size,
        "patch_size": sizes.patch_size,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }


@dataclass(frozen=True)
class StreamingSizes:
    """Sizes of everything in `streaming_t2v.ckpt`; the defaults are the published ones."""

    unet: Config = field(default_factory=unet_config)
    vae: Config = field(default_factory=vae_config)
    text: TextSizes = field(default_factory=lambda: TextSizes(num_layers=23))
    visual: VisualSizes = field(default_factory=VisualSizes)
    picture_channels: tuple[int, ...] = PUBLISHED_PICTURE_CHANNELS
    num_text_tokens: int = 77
    num_image_tokens: int = 16
    expander_width: int = 1280

    @property
    def cam(self) -> Config:
        """config.json of cam/."""
        return {"picture_channels": list(self.picture_channels), "num_conditioning_frames": NUM_CONDITIONING_FRAMES}

    @property
    def conditioning(self) -> Config:
        """config.json of conditioning/."""
        return {
            "num_text_tokens": self.num_text_tokens,
            "num_image_tokens": self.num_image_tokens,
            "embedding_width": self.visual.embedding_width,
            "inner_width": self.expander_width,
        }


def _num_heads(width: int, head_width: int) -> int:
    """Number of heads of the published width, or wider ones if those do not divide a small model's width."""
    return next(heads for heads in range(max(1, width // head_width), 0, -1) if width % heads == 0)


def _norm_groups(widths: tuple[int, ...]) -> int:
    """32 as published, or the greatest common divisor with the widths of a small model."""
    return math.gcd(_NORM_GROUPS, *widths)
