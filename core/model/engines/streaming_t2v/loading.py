"""Named weights with their sampling profiles: a preset folder becomes an engine.

The folder holds preset.json. A weights folder holds, each with config.json and *.safetensors, unet/, vae/,
text_encoder/, image_encoder/, cam/, conditioning/ and perhaps first_chunk_unet/ (an untouched base UNet; without it
unet/ makes the first chunk too), and tokenizer/tokenizer.json. Small presets are their own weights folder. Whatever is
missing or damaged is named in a PresetError.
"""

from pathlib import Path

import torch

from core.model.cores import usable_cores
from core.model.engines.streaming_t2v.engine import EngineConfig, ProfileConfig, StreamingT2VEngine
from core.model.engines.streaming_t2v.first_chunk.choose import load_source
from core.model.engines.streaming_t2v.networks import WeightsFolder, check_sizes
from core.model.engines.streaming_t2v.preset import StreamingPreset, read_preset
from core.model.presets.fingerprint import fingerprint
from core.model.refinement.loading import fetch_refiner, load_refiner
from core.model.sampling.device import select_device
from core.service.domain.engine import LongWork, unannounced
from core.service.domain.first_chunk_sources import SourceChoice
from core.service.domain.schema import DEFAULT_PROFILE, Profile

__all__ = ["fetch_refiner", "load_engine", "load_refiner"]


def load_engine(
    folder: Path,
    *,
    weights: Path | None = None,
    first_chunk_source: str | None = None,
    device: str | None = None,
    torch_threads: int = 0,
    torch_compile: bool = False,
    long_work: LongWork = unannounced,
) -> StreamingT2VEngine:
    """Load a preset. Raises PresetError naming the file at fault.

    `weights`: its weights folder, where that is not `folder`. `first_chunk_source`: instead of the preset's own.
    `device` None: CUDA where there is one, else CPU. `torch_threads` 0: all cores.
    `torch_compile` acts on CUDA only. `long_work` stands around what is loaded or compiled, now and later.
    """
    torch.set_num_threads(torch_threads or usable_cores())
    where = select_device(device)
    compiled = torch_compile and where.type == "cuda"
    preset = read_preset(folder)
    choice = SourceChoice.parse(first_chunk_source or preset.first_chunk_source)
    loader = WeightsFolder(
        weights or folder, where, with_base=choice.kind == "base", compiled=compiled, long_work=long_work
    )
    profiles = profile_configs(preset, where)
    check_sizes(weights or folder, preset, loader.at(profiles[DEFAULT_PROFILE].dtype))
    source = load_source(choice, preset.height, preset.width, where, long_work)
    line = fingerprint(folder, weights or folder, where, choice, compiled=compiled)
    return StreamingT2VEngine(loader, EngineConfig(preset.height, preset.width, profiles, line), source)


def profile_configs(preset: StreamingPreset, device: torch.device) -> dict[Profile, ProfileConfig]:
    """How each profile samples. Half precision is for GPUs: a CPU computes in float32 whatever a profile says."""
    return {
        name: ProfileConfig(
            preset.config(profile.windows),
            preset.config(profile.first_chunk),
            getattr(torch, profile.gpu_dtype) if device.type == "cuda" else torch.float32,
        )
        for name, profile in preset.profiles.items()
    }
