"""Names and shapes that a checkpoint of given sizes must have, derived from the networks that will load it.

The networks are built on the meta device and their names translated to the checkpoint's. So a converted folder that
passed the comparison always loads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import nn

from core.model.convert.lazy_tensor import Shape
from core.model.convert.ldm_vae import ldm_name, shape_in_ldm
from core.model.convert.open_clip import TextSizes, text_frame_shapes, visual_shapes
from core.model.convert.refiner_names import RefinerLayout, shape_in_refiner
from core.model.convert.sizes import Config, StreamingSizes, text_config
from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.engines.streaming_t2v.checkpoint import StreamingWeights, to_official
from core.model.networks.builders import build_text_encoder, build_unet, build_vae
from core.model.networks.cross_attention import spatial_cross_attentions

VAE = "vae."
TEXT_ENCODER = "text_encoder.text_model."
VISUAL = "image_encoder.model.visual."
UNUSED_TEXT_TOWER = "image_encoder.model."


@dataclass(frozen=True)
class Expected:
    """Shapes by name. `optional`: may be present, is not read."""

    required: dict[str, Shape]
    optional: dict[str, Shape] = field(default_factory=dict[str, Shape])


@dataclass(frozen=True)
class Renamed:
    """A weight with another name in the file: its name and shape in the network, and its shape in the file."""

    name: str
    shape: Shape
    shape_in_file: Shape


def expected_streaming(sizes: StreamingSizes) -> Expected:
    """Everything in `streaming_t2v.ckpt` (3407 names at the published sizes)."""
    required = {
        **{VAE + name: shape for name, shape in vae_shapes(sizes.vae).items()},
        **{TEXT_ENCODER + name: shape for name, shape in text_encoder_shapes(sizes.text).items()},
        **{VISUAL + name: shape for name, shape in visual_shapes(sizes.visual).items()},
        **_streaming_shapes(sizes),
    }
    # What remains of OpenCLIP's text tower when only its layers are removed. An old transformers version also stored
    # position ids.
    unused = TextSizes(width=sizes.visual.embedding_width, embedding_width=sizes.visual.embedding_width)
    optional = {UNUSED_TEXT_TOWER + name: shape for name, shape in text_frame_shapes(unused).items()}
    optional[f"{TEXT_ENCODER}embeddings.position_ids"] = (1, sizes.text.num_positions)
    return Expected(required, optional)


def refiner_table(config: Config) -> dict[str, Renamed]:
    """Every weight of the refiner's UNet file, by its name there (1480 at the published size)."""
    layout = refiner_layout(config)
    return {
        layout.name_of(name): Renamed(name, shape, shape_in_refiner(name, shape))
        for name, shape in _shapes(unet_without_weights(config)).items()
    }


def refiner_layout(config: Config) -> RefinerLayout:
    up_types: list[str] = config["up_block_types"]
    return RefinerLayout(config["layers_per_block"], tuple("CrossAttn" in kind for kind in up_types))


def ldm_vae_table(config: Config) -> dict[str, Renamed]:
    """Every weight of a latent-diffusion autoencoder, by its name there without `first_stage_model.`."""
    num_levels = len(config["block_out_channels"])
    return {
        ldm_name(name, num_levels): Renamed(name, shape, shape_in_ldm(name, shape))
        for name, shape in vae_shapes(config).items()
    }


def vae_shapes(config: Config) -> dict[str, Shape]:
    with torch.device("meta"):
        return _shapes(build_vae(config))


def text_encoder_shapes(sizes: TextSizes) -> dict[str, Shape]:
    with torch.device("meta"):
        return _shapes(build_text_encoder(text_config(sizes)))


def unet_without_weights(config: Config) -> UNet3DConditionModel:
    """The UNet on the meta device."""
    with torch.device("meta"):
        return build_unet(config)


def layer_names(config: Config) -> tuple[str, ...]:
    """Names of the UNet's cross-attention layers, each of which has an APM mixer."""
    return tuple(spatial_cross_attentions(unet_without_weights(config)))


def _streaming_shapes(sizes: StreamingSizes) -> dict[str, Shape]:
    """UNet, CAM, mergers, mixers and expander under the official names."""
    unet = unet_without_weights(sizes.unet)
    config = dict(cast(Any, unet.config))
    with torch.device("meta"):
        mixers = ApmMixers.for_unet(unet, sizes.num_text_tokens, sizes.num_image_tokens)
        parts = StreamingWeights(
            unet=_shapes(unet),
            cam=_shapes(CamFeatureExtractor(config, sizes.picture_channels)),
            mergers=_shapes(CamMergers.for_unet(config)),
            mixers=_shapes(mixers),
            expander=_shapes(
                TokenExpander(
                    sizes.visual.embedding_width,
                    sizes.expander_width,
                    sizes.num_image_tokens,
                    config["cross_attention_dim"],
                )
            ),
        )
    return to_official(parts, mixers.layer_names)


def _shapes(module: nn.Module) -> dict[str, Shape]:
    weights: Mapping[str, torch.Tensor] = module.state_dict()
    return {name: tuple(weight.shape) for name, weight in weights.items()}
