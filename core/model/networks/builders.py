"""Networks with fresh weights from the content of their config.json, in float32 on torch's current default device."""

from typing import Any, cast

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from transformers import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPVisionModelWithProjection


def build_unet(config: dict[str, Any]) -> UNet3DConditionModel:
    """A UNet; diffusers fills in missing keys."""
    return cast(UNet3DConditionModel, UNet3DConditionModel.from_config(config))


def build_vae(config: dict[str, Any]) -> AutoencoderKL:
    """A VAE; diffusers fills in missing keys."""
    return cast(AutoencoderKL, AutoencoderKL.from_config(config))


def build_text_encoder(config: dict[str, Any]) -> CLIPTextModel:
    """A CLIP text encoder."""
    return CLIPTextModel(CLIPTextConfig.from_dict(config))


def build_image_encoder(config: dict[str, Any]) -> CLIPVisionModelWithProjection:
    """A CLIP image encoder with its projection."""
    return CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
