"""Named weights with their sampling defaults: a preset folder becomes an engine.

A folder holds preset.json and, each with config.json and *.safetensors, unet/, vae/, text_encoder/, image_encoder/,
cam/ and conditioning/, and tokenizer/tokenizer.json. Whatever is missing or damaged is named in a PresetError.
"""

import os
from pathlib import Path

import torch

from core.model.presets.facts import read_preset
from core.model.presets.fingerprint import fingerprint
from core.model.presets.networks import check_sizes, load_models
from core.model.streaming_t2v.engine import EngineFacts, ProfileRecipes, StreamingT2VEngine


def load_engine(
    folder: Path, *, device: str | None = None, torch_threads: int = 0, dtype: torch.dtype = torch.float32
) -> StreamingT2VEngine:
    """Load a preset folder. Raises PresetError naming the file at fault.

    `device` None: CUDA where there is one, else CPU. `torch_threads` 0: all cores. `dtype` is that of the networks; the
    autoencoder stays float32.
    """
    torch.set_num_threads(torch_threads or os.cpu_count() or 1)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    preset = read_preset(folder)
    models = load_models(folder, where, dtype)
    check_sizes(folder, preset, models)
    facts = EngineFacts(
        height=preset.height,
        width=preset.width,
        profiles={
            name: ProfileRecipes(preset.recipe(profile.windows), preset.recipe(profile.first_chunk))
            for name, profile in preset.profiles.items()
        },
        fingerprint=fingerprint(folder, where, dtype),
    )
    return StreamingT2VEngine(models, facts)
