"""Loads an engine from a preset folder and its weights folder.

The preset folder holds preset.json. A weights folder holds, each with config.json and *.safetensors, unet/, vae/,
text_encoder/, image_encoder/, cam/, conditioning/ and perhaps first_chunk_unet/ (an untouched base UNet; without it
unet/ makes the first chunk too), tokenizer/tokenizer.json, and for distilled profiles distilled/: adapters that are
added to these weights. Small presets are their own weights folder.
"""

from pathlib import Path

import torch

from core.model.cores import usable_cores
from core.model.engines.streaming_t2v.engine import StreamingT2VEngine
from core.model.engines.streaming_t2v.first_chunk.choose import load_source
from core.model.engines.streaming_t2v.models import Distilled, EngineConfig, ProfileConfig
from core.model.engines.streaming_t2v.networks import WeightsFolder, check_sizes
from core.model.engines.streaming_t2v.preset import PresetSampling, StreamingPreset, read_preset
from core.model.engines.streaming_t2v.sampling import SamplingConfig
from core.model.presets.fingerprint import fingerprint
from core.model.sampling.device import select_device
from core.model.sampling.samplers import SamplingPlan
from core.model.sampling.schedules import NoiseSchedule, schedule_from_config
from core.service.domain.engine import LongWork, unannounced
from core.service.domain.first_chunk_sources import SourceChoice
from core.service.domain.schema import DEFAULT_PROFILE, Profile
from core.service.engines.load_context import LoadContext


def load_engine(
    folder: Path,
    *,
    weights: Path | None = None,
    device: str | None = None,
    torch_threads: int = 0,
    torch_compile: bool = False,
    long_work: LongWork = unannounced,
) -> StreamingT2VEngine:
    """The engine of a preset folder. Raises PresetError naming the file at fault.

    `weights`: its weights folder, if that is not `folder`; the other arguments are those of `load_engine_of`.
    """
    context = LoadContext(read_preset(folder), folder, weights or folder, torch_threads, torch_compile, long_work)
    return load_engine_of(context, device)


def load_engine_of(context: LoadContext[StreamingPreset], device: str | None = None) -> StreamingT2VEngine:
    """The engine of a preset. Raises PresetError naming the file at fault.

    `device` None: CUDA if there is one, else CPU. Compiling acts on CUDA only.
    """
    preset, weights = context.preset, context.weights
    torch.set_num_threads(context.torch_threads or usable_cores())
    own = select_device(device)
    compiled = context.torch_compile and own.type == "cuda"
    choice = SourceChoice.parse(preset.first_chunk_source)
    loader = WeightsFolder(
        weights, own, with_base=choice.kind == "base", compiled=compiled, long_work=context.long_work
    )
    profiles = profile_configs(preset, own)
    default = profiles[DEFAULT_PROFILE]
    check_sizes(weights, preset, loader.at(default.dtype, default.distilled))
    source = load_source(choice, preset.height, preset.width, own, context.long_work)
    line = fingerprint(context.folder, weights, own, choice, compiled=compiled)
    return StreamingT2VEngine(loader, EngineConfig(preset.height, preset.width, profiles, line), source)


def profile_configs(preset: StreamingPreset, device: torch.device) -> dict[Profile, ProfileConfig]:
    """Sampling configs by profile. A CPU always computes in float32."""
    return {
        name: ProfileConfig(
            sampling_config(preset, profile.windows),
            sampling_config(preset, profile.first_chunk),
            getattr(torch, profile.gpu_dtype) if device.type == "cuda" else torch.float32,
            Distilled(profile.windows.distilled, profile.first_chunk.distilled),
        )
        for name, profile in preset.profiles.items()
    }


def sampling_config(preset: StreamingPreset, sampling: PresetSampling) -> SamplingConfig:
    """The config for sampling latents with these values of a preset."""
    plan = SamplingPlan(
        sampling.sampler,
        sampling.num_inference_steps,
        eta=sampling.eta,
        spacing=sampling.timestep_spacing or preset.scheduler.timestep_spacing,
        offset=preset.scheduler.steps_offset,
    )
    return SamplingConfig(
        plan,
        noise_schedule(preset),
        sampling.guidance_scale,
        sampling.guidance_interval,
        sampling.deep_feature_steps,
    )


def noise_schedule(preset: StreamingPreset) -> NoiseSchedule:
    """The noise schedule of training."""
    return schedule_from_config(preset.scheduler.model_dump())
