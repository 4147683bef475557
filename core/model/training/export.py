"""Write a trained preset: configs and half-precision weights in the layout that core.model.presets loads.

Knows where each part goes; trains nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerFast

from core.model.training import data, parallel
from core.model.training.decoder_stage import decoder_parts
from core.model.training.memory_stage import CONDITIONING
from core.model.training.sprites_config import preset_facts, refiner_facts
from core.model.training.sprites_run import TrainingRun
from core.service.engines.refiner import REFINER_FOLDER

CLIP_HEADS = "clip_heads.safetensors"
"""What brings the text encoder's and the vision tower's states together: read by the evaluation alone."""


def export_preset(training_run: TrainingRun, folder: Path) -> None:
    """Write every part of the preset into `folder`; files already there are replaced.

    A refiner only where one was trained: nothing else of a preset needs it. Processes that train together all come
    here, as the latents' scale is read off the bank, which they encode together; the first one writes.
    """
    vae = training_run.scaled_vae
    if parallel.rank() != 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    # All of it may go: a decoder of an earlier export would be taken for this one's.
    shutil.rmtree(folder / REFINER_FOLDER, ignore_errors=True)
    for name, model in (
        ("vae", vae),
        ("unet", training_run.unet),
        ("text_encoder", training_run.text_encoder),
        ("image_encoder", training_run.image_encoder),
    ):
        _save_library_model(model, folder / name)
    save_memory(training_run, folder)
    save_clip_heads(training_run, folder / CLIP_HEADS)
    save_tokenizer(folder / "tokenizer")
    facts = preset_facts()
    if training_run.has_trained("refiner"):
        _save_library_model(training_run.refiner, folder / REFINER_FOLDER / "unet")
        if training_run.has_trained("decoder"):
            _save_decoder(training_run.refiner_vae, folder / REFINER_FOLDER / "vae")
        facts["refiner"] = refiner_facts()
    write_json(folder / "preset.json", facts)


def _save_library_model(model: nn.Module, folder: Path) -> None:
    """Save a diffusers or transformers model at half precision without changing the one in memory."""
    weights = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    cast("Any", model).save_pretrained(folder, state_dict=weights)
    _halve(folder)


def _save_decoder(vae: AutoencoderKL, folder: Path) -> None:
    """The autoencoder's config, and weights of what the stage `decoder` trains: the rest is the preset's own vae/."""
    vae.save_config(folder)
    save_weights(nn.ModuleDict(decoder_parts(vae)), folder / "diffusion_pytorch_model.safetensors")


def _halve(folder: Path) -> None:
    """Some save methods ignore the given state dict; what is on disk ends up as half precision either way."""
    from safetensors.torch import load_file

    for path in folder.glob("*.safetensors"):
        weights = {
            name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
        }
        save_file(weights, path, metadata={"format": "pt"})


def save_memory(training_run: TrainingRun, folder: Path) -> None:
    """cam/ and conditioning/: configs from which the modules are rebuilt, and their weights."""
    memory, networks = training_run.memory, training_run.networks
    write_json(
        folder / "cam" / "config.json",
        {"picture_channels": list(networks.picture_channels), "num_conditioning_frames": CONDITIONING},
    )
    save_weights(memory.cam, folder / "cam" / "model.safetensors")
    write_json(
        folder / "conditioning" / "config.json",
        {
            "num_text_tokens": data.MAX_TOKENS,
            "num_image_tokens": networks.image_tokens,
            "embedding_width": memory.expander.context_embedding[0].in_features,
            "inner_width": memory.expander.context_embedding[0].out_features,
        },
    )
    save_weights(nn.ModuleDict(memory.conditioning), folder / "conditioning" / "model.safetensors")


def save_clip_heads(training_run: TrainingRun, path: Path) -> None:
    """The heads of the contrastive stage, under its own names."""
    save_weights(training_run.words.heads, path)


def save_weights(module: nn.Module, path: Path) -> None:
    """Half-precision weights in one file."""
    weights = {name: tensor.detach().half().contiguous() for name, tensor in module.state_dict().items()}
    save_file(weights, path, metadata={"format": "pt"})


def save_tokenizer(folder: Path) -> None:
    """tokenizer.json for the plain `tokenizers` package, and what transformers wants beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=data.build_tokenizer(),
        pad_token=data.PAD,
        bos_token=data.BEGIN,
        eos_token=data.END,
        unk_token=data.UNKNOWN,
        model_max_length=data.MAX_TOKENS,
    )
    wrapped.save_pretrained(str(folder))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON with a final newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
