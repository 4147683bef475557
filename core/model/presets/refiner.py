"""The refiner of a preset: <weights>/refiner/ becomes a RefineEngine.

The folder holds unet/ and, where they are not the preset's own, text_encoder/, vae/ and tokenizer/. Knows the layout;
knows no denoising.
"""

import os
from pathlib import Path

import torch

from core.model.presets.facts import read_preset
from core.model.presets.files import load_module, read_tokenizer
from core.model.presets.fingerprint import facts_digest, machine_facts, weights_digest
from core.model.presets.networks import build_text_encoder, build_unet, build_vae
from core.model.refinement.engine import RefinerModels, WindowRefiner
from core.model.refinement.unet import with_vid2vid_resampling
from core.model.streaming_t2v.base_network import UntouchedBase
from core.model.streaming_t2v.encoders import ClipTextReader
from core.service.catalog import REFINER_FOLDER
from core.service.errors import PresetError


def load_refiner(
    folder: Path, *, weights: Path | None = None, device: str | None = None, torch_threads: int = 0
) -> WindowRefiner:
    """Load a preset's refiner. Raises PresetError naming the file at fault, or that there is no refiner.

    The arguments are those of `load_engine`.
    """
    torch.set_num_threads(torch_threads or os.cpu_count() or 1)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    facts = read_preset(folder).refiner
    if facts is None:
        raise PresetError(f"{folder / 'preset.json'} names no refiner", fix="use a preset that has one")
    own = weights or folder
    dtype = getattr(torch, facts.gpu_dtype) if where.type == "cuda" else torch.float32
    laws = facts.laws()
    unet = load_module(own / REFINER_FOLDER / "unet", build_unet, where, dtype)
    models = RefinerModels(
        UntouchedBase(with_vid2vid_resampling(unet) if laws.vid2vid_resampling else unet),
        load_module(_own_or_shared(own, "vae"), build_vae, where),
        ClipTextReader(
            read_tokenizer(_own_or_shared(own, "tokenizer").parent),
            load_module(_own_or_shared(own, "text_encoder"), build_text_encoder, where),
        ),
    )
    weights_line = f"refiner {weights_digest(own / REFINER_FOLDER)}; preset {facts_digest(folder)}"
    return WindowRefiner(models, laws, f"{weights_line}; {machine_facts(where)}")


def _own_or_shared(weights: Path, part: str) -> Path:
    """The refiner's part, or the preset's where the refiner brings none."""
    own = weights / REFINER_FOLDER / part
    return own if own.is_dir() else weights / part
