"""The networks of a preset folder, built from its configs, loaded, placed on a device.

Knows which folder holds which network; file formats are in files.py, sampling in facts.py.
"""

from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.presets.facts import StreamingPreset
from core.model.presets.files import FIX, Model, load_module, read_tokenizer
from core.model.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.streaming_t2v.encoders import ClipPictureReader, ClipTextReader
from core.model.streaming_t2v.engine import LoadedModels
from core.model.streaming_t2v.network import StreamingNetwork
from core.service.errors import PresetError


def load_models(folder: Path, device: torch.device, dtype: torch.dtype) -> LoadedModels:
    """All networks of a preset on a device, in evaluation mode."""
    network = load_network(folder)
    for part in network.parts.values():
        _placed(part, device, dtype)
    vae = load_module(folder / "vae", lambda config: cast(AutoencoderKL, AutoencoderKL.from_config(config)))
    text = load_module(folder / "text_encoder", lambda config: CLIPTextModel(CLIPTextConfig.from_dict(config)))
    pictures = load_module(
        folder / "image_encoder", lambda config: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    )
    return LoadedModels(
        network,
        _placed(vae, device),
        ClipTextReader(read_tokenizer(folder), _placed(text, device)),
        ClipPictureReader(_placed(pictures, device)),
    )


def _placed(module: Model, device: torch.device, dtype: torch.dtype = torch.float32) -> Model:
    """`module`, moved. diffusers' own `to` warns of modules to be kept in float32 even where there are none."""
    nn.Module.to(module, device=device, dtype=dtype)
    return module


def load_network(folder: Path) -> StreamingNetwork:
    """UNet, CAM and conditioning parts of a preset; their sizes follow from the UNet's configuration."""
    unet = load_module(
        folder / "unet", lambda config: cast(UNet3DConditionModel, UNet3DConditionModel.from_config(config))
    )
    unet_config = dict(cast(Any, unet.config))
    cam = load_module(
        folder / "cam",
        lambda config: CamFeatureExtractor(unet_config, config["picture_channels"], config["num_conditioning_frames"]),
    )
    parts = load_module(folder / "conditioning", lambda config: _build_conditioning(unet, config))
    return StreamingNetwork(
        unet,
        cam,
        cast(CamMergers, parts["mergers"]),
        cast(ApmMixers, parts["mixers"]),
        cast(TokenExpander, parts["expander"]),
    )


def _build_conditioning(unet: UNet3DConditionModel, config: dict[str, Any]) -> nn.ModuleDict:
    """Mergers, mixers and expander of a UNet, with fresh weights."""
    unet_config = dict(cast(Any, unet.config))
    num_tokens = config["num_image_tokens"]
    return nn.ModuleDict(
        {
            "mergers": CamMergers.for_unet(unet_config),
            "mixers": ApmMixers.for_unet(unet, config["num_text_tokens"], num_tokens),
            "expander": TokenExpander(
                config["embedding_width"], config["inner_width"], num_tokens, unet_config["cross_attention_dim"]
            ),
        }
    )


def check_sizes(folder: Path, preset: StreamingPreset, models: LoadedModels) -> None:
    """What preset.json promises must be what the networks take."""
    reader = cast(ClipTextReader, models.read_texts)
    network = models.network
    facts = {
        "max_prompt_tokens": (preset.max_prompt_tokens, reader.max_prompt_tokens),
        "text tokens of the mixers": (cast(Any, network.mixers.mixers[0]).num_text_tokens, reader.num_tokens),
        "height, width": ((preset.height % 8, preset.width % 8), (0, 0)),
    }
    for name, (stated, actual) in facts.items():
        if stated != actual:
            raise PresetError(f"{folder}: {name} is {stated}, the networks take {actual}", fix=FIX)
