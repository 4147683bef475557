"""Export a trained `sprites` preset: configs and half-precision weights in the layout that core.model.presets loads."""

from __future__ import annotations

import shutil
from pathlib import Path

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file
from torch import nn

from core.model.networks.adapters import stored_difference
from core.model.training.distilled_export import export_adapters
from core.model.training.distilled_sampling import Part
from core.model.training.loop import parallel
from core.model.training.preset_files import save_library_model, save_tokenizer, save_weights, write_json
from core.model.training.sprites.word_tokenizer import MAX_TOKENS, build_tokenizer
from core.model.training.sprites_models import SpritesModels
from core.model.training.sprites_preset import preset_config, refiner_config
from core.model.training.stages.decoder import decoder_parts
from core.model.training.stages.history import CONDITIONING_FRAMES
from core.service.admission.catalog import REFINER_FOLDER

CLIP_HEADS = "clip_heads.safetensors"
"""The heads of the contrastive stage; only evaluation reads them."""
_DECODER_RANK = 16
"""Of the refined decoder's difference: a third of its bytes for 0.3 dB (docs/refinement.md)."""


def export_preset(models: SpritesModels, folder: Path) -> None:
    """Write every part of the preset to `folder`; existing files are replaced. The refiner is optional.

    A collective operation: all processes must call it, as the scaling factor needs the clip bank, which they encode
    together. Only the first one writes. Raises StageNotTrained.
    """
    vae = models.scaled_vae
    if parallel.rank() != 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    # A decoder left by an earlier export would be taken for this one's.
    shutil.rmtree(folder / REFINER_FOLDER, ignore_errors=True)
    for name, model in (
        ("vae", vae),
        ("unet", models.unet),
        ("text_encoder", models.text_encoder),
        ("image_encoder", models.image_encoder),
    ):
        save_library_model(model, folder / name)
    save_memory(models, folder)
    save_weights(models.contrastive.heads, folder / CLIP_HEADS)
    save_tokenizer(build_tokenizer(), folder / "tokenizer")
    config = preset_config()
    if models.has_trained("refiner"):
        save_library_model(models.refiner, folder / REFINER_FOLDER / "unet")
        if models.has_trained("decoder"):
            _save_decoder(models.refiner_vae, vae, folder / REFINER_FOLDER / "vae")
        config["refiner"] = refiner_config()

    def network_of(part: Part) -> nn.Module:
        return models.memory.adapted if part == "windows" else models.unet

    write_json(folder / "preset.json", export_adapters(models.recipe, models.folder, folder, config, network_of))


def _save_decoder(vae: AutoencoderKL, shared: AutoencoderKL, folder: Path) -> None:
    """The autoencoder's config, and how the decoder that the stage `decoder` trained differs from the `shared` one."""
    vae.save_config(folder)
    before = {name: weight.half() for name, weight in nn.ModuleDict(decoder_parts(shared)).state_dict().items()}
    stored = {
        name + form: tensor
        for name, weight in nn.ModuleDict(decoder_parts(vae)).state_dict().items()
        for form, tensor in stored_difference(before[name], weight, _DECODER_RANK).items()
    }
    save_file(stored, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def save_memory(models: SpritesModels, folder: Path) -> None:
    """Write cam/ and conditioning/: the configs from which the modules are rebuilt, and their weights."""
    memory, networks = models.memory, models.networks
    write_json(
        folder / "cam" / "config.json",
        {"picture_channels": list(networks.picture_channels), "num_conditioning_frames": CONDITIONING_FRAMES},
    )
    save_weights(memory.cam, folder / "cam" / "model.safetensors")
    write_json(
        folder / "conditioning" / "config.json",
        {
            "num_text_tokens": MAX_TOKENS,
            "num_image_tokens": networks.image_tokens,
            "embedding_width": memory.expander.context_embedding[0].in_features,
            "inner_width": memory.expander.context_embedding[0].out_features,
        },
    )
    save_weights(nn.ModuleDict(memory.conditioning), folder / "conditioning" / "model.safetensors")
