"""Sizes of the networks: the published ones, and those that a checkpoint's own shapes tell; as configurations.

What shapes do not tell (norm groups, heads of the CLIP towers, activations) is as published, as far as the widths
allow. Knows names and shapes; builds nothing, checks nothing.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from core.model.convert.lazy_tensor import LazyTensor, Shape
from core.model.convert.open_clip import TextSizes, VisualSizes

Shapes = Mapping[str, Shape]
ShapeOf = Callable[[str], Shape | None]
Config = dict[str, Any]

NUM_CONDITIONING_FRAMES = 8
_NORM_GROUPS = 32
_TEXT_HEAD_WIDTH = 64
_VISUAL_HEAD_WIDTH = 80
_TEMPORAL_HEADS_IN = 8  # of transformer_in, whatever its width


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
        "num_attention_heads": max(1, sizes.width // _TEXT_HEAD_WIDTH),
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
        "num_attention_heads": max(1, sizes.width // _VISUAL_HEAD_WIDTH),
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
    picture_channels: tuple[int, ...] = (32, 96, 256, 512)
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


def streaming_sizes(shapes: Shapes) -> StreamingSizes:
    """Sizes of a checkpoint with the official names. Raises KeyError, IndexError where a telling weight is missing."""
    mixer = shapes["base_model.mid_block.attentions.0.transformer_blocks.0.attn2.conv.weight"]
    return StreamingSizes(
        unet=infer_unet(below(shapes, "base_model.").get),
        vae=infer_vae(below(shapes, "vae.").get),
        text=_infer_text_encoder(below(shapes, "text_encoder.text_model.")),
        visual=infer_visual(below(shapes, "image_encoder.model.visual.")),
        picture_channels=_infer_picture_channels(below(shapes, "unet.controlnet_cond_embedding.")),
        num_text_tokens=mixer[0],
        num_image_tokens=mixer[1] - mixer[0],
        expander_width=shapes["resampler.context_embedding.0.weight"][0],
    )


def infer_unet(shape_of: ShapeOf) -> Config:
    """Sizes of a UNet whose weights are asked for by diffusers' names."""
    levels = _count(lambda level: shape_of(f"down_blocks.{level}.resnets.0.norm2.weight"))
    return unet_config(
        widths=tuple(_told(shape_of, f"down_blocks.{level}.resnets.0.norm2.weight")[0] for level in range(levels)),
        layers_per_block=_count(lambda layer: shape_of(f"down_blocks.0.resnets.{layer}.norm2.weight")),
        text_width=_told(shape_of, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight")[1],
        head_width=_told(shape_of, "transformer_in.proj_in.weight")[0] // _TEMPORAL_HEADS_IN,
        latent_channels=_told(shape_of, "conv_in.weight")[1],
        attention=tuple(
            shape_of(f"down_blocks.{level}.attentions.0.norm.weight") is not None for level in range(levels)
        ),
    )


def infer_vae(shape_of: ShapeOf) -> Config:
    """Sizes of an autoencoder whose weights are asked for by diffusers' names."""
    levels = _count(lambda level: shape_of(f"encoder.down_blocks.{level}.resnets.0.norm2.weight"))
    return vae_config(
        widths=tuple(
            _told(shape_of, f"encoder.down_blocks.{level}.resnets.0.norm2.weight")[0] for level in range(levels)
        ),
        layers_per_block=_count(lambda layer: shape_of(f"encoder.down_blocks.0.resnets.{layer}.norm2.weight")),
        latent_channels=_told(shape_of, "decoder.conv_in.weight")[1],
    )


def _told(shape_of: ShapeOf, name: str) -> Shape:
    shape = shape_of(name)
    if shape is None:
        raise KeyError(name)
    return shape


def infer_visual(shapes: Shapes) -> VisualSizes:
    """Sizes of an OpenCLIP visual tower."""
    return VisualSizes(
        width=shapes["proj"][0],
        inner_width=shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        num_layers=_count(lambda layer: shapes.get(f"transformer.resblocks.{layer}.ln_1.weight")),
        patch_size=shapes["conv1.weight"][-1],
        num_positions=shapes["positional_embedding"][0],
        embedding_width=shapes["proj"][1],
    )


def infer_text_tower(shapes: Shapes) -> TextSizes:
    """Sizes of an OpenCLIP text tower, all its layers counted."""
    return TextSizes(
        width=shapes["positional_embedding"][1],
        inner_width=shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        num_layers=_count(lambda layer: shapes.get(f"transformer.resblocks.{layer}.ln_1.weight")),
        num_positions=shapes["positional_embedding"][0],
        vocabulary=shapes["token_embedding.weight"][0],
        embedding_width=shapes.get("text_projection", (0, 0))[1],
    )


def _infer_text_encoder(shapes: Shapes) -> TextSizes:
    """Sizes of a CLIPTextModel."""
    vocabulary, width = shapes["embeddings.token_embedding.weight"]
    return TextSizes(
        width=width,
        inner_width=shapes["encoder.layers.0.mlp.fc1.weight"][0],
        num_layers=_count(lambda layer: shapes.get(f"encoder.layers.{layer}.layer_norm1.weight")),
        num_positions=shapes["embeddings.position_embedding.weight"][0],
        vocabulary=vocabulary,
        embedding_width=width,
    )


def _infer_picture_channels(shapes: Shapes) -> tuple[int, ...]:
    """Widths of CAM's picture encoder: the first convolution's, then those of every second block."""
    num_blocks = _count(lambda block: shapes.get(f"blocks.{block}.weight"))
    wider = (shapes[f"blocks.{block}.weight"][0] for block in range(1, num_blocks, 2))
    return (shapes["conv_in.weight"][0], *wider)


def shapes_of(tensors: Mapping[str, LazyTensor]) -> dict[str, Shape]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def below(shapes: Shapes, prefix: str) -> dict[str, Shape]:
    """Entries under a prefix, without it."""
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _count(found: Callable[[int], Shape | None]) -> int:
    """How many indices from 0 on have a weight, up to the first that has none."""
    return next(index for index in count() if found(index) is None)


def _norm_groups(widths: tuple[int, ...]) -> int:
    """32 as published; the largest number that fits all widths where a small model's are no multiples of 32."""
    return math.gcd(_NORM_GROUPS, *widths)
