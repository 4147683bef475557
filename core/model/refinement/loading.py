"""Loads the refiner `sdedit` from <weights>/refiner/ or from the repository in preset.json.

The folder holds unet/ and, if they differ from the preset's, text_encoder/, vae/ and tokenizer/ (parts.py).
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from core.model.cores import usable_cores
from core.model.networks.base_network import UntouchedBase
from core.model.networks.compilation import compile_one_graph, with_eager_fallback
from core.model.networks.encoders import ClipTextEncoder
from core.model.networks.kernels import lay_out_for_gpu
from core.model.presets.fingerprint import machine_description, preset_digest
from core.model.refinement.engine import RefinerConfig, RefinerModels, WindowRefiner
from core.model.refinement.parts import RefinerParts, fetch_repository, parts_of_folder, parts_of_repository
from core.model.refinement.preset import SdeditPreset, sdedit_of
from core.model.refinement.schedule import vid2vid_sigmas
from core.model.refinement.unet import with_vid2vid_resampling
from core.model.sampling.device import select_device
from core.model.sampling.schedules import schedule_from_config
from core.model.sampling.vae import enable_tiling
from core.service.domain.engine import LongWork, unannounced
from core.service.domain.errors import PresetError
from core.service.engines.definition import read_preset
from core.service.engines.load_context import LoadContext

logger = logging.getLogger(__name__)


def fetch_refiner(preset: SdeditPreset) -> None:
    """Download a refiner that preset.json names by its Hub id, before a job needs it.

    A failure is only logged: jobs without refinement do not need it.
    """
    if preset.source is None:
        return
    try:
        fetch_repository(preset.source)
    except PresetError as error:
        logger.warning("the refiner cannot be downloaded yet: %s", error.with_fix)


def load_refiner(
    folder: Path,
    *,
    weights: Path | None = None,
    device: str | None = None,
    torch_threads: int = 0,
    torch_compile: bool = False,
    long_work: LongWork = unannounced,
) -> WindowRefiner:
    """The refiner of a preset folder. Raises PresetError naming the file at fault, or that there is no such refiner.

    `weights`: its weights folder, if that is not `folder`; the other arguments are those of `load_refiner_of`.
    """
    preset = sdedit_of(read_preset(folder))
    return load_refiner_of(
        LoadContext(preset, folder, weights or folder, torch_threads, torch_compile, long_work), device
    )


def load_refiner_of(context: LoadContext[SdeditPreset], device: str | None = None) -> WindowRefiner:
    """The refiner of a preset. Raises PresetError naming the file at fault.

    `device` None: CUDA if there is one, else CPU. Compiling acts on CUDA only.
    """
    preset = context.preset
    torch.set_num_threads(context.torch_threads or usable_cores())
    own = select_device(device)
    dtype = getattr(torch, preset.gpu_dtype) if own.type == "cuda" else torch.float32
    parts = _parts(context, own, dtype)
    config = refiner_config(preset, parts.noise_schedule() if preset.scheduler is None else None)
    if preset.vae_tile is not None:
        enable_tiling(parts.vae, preset.vae_tile)
    if own.type == "cuda":
        lay_out_for_gpu(parts.unet)
    network = UntouchedBase(with_vid2vid_resampling(parts.unet) if config.vid2vid_resampling else parts.unet)
    compiled = context.torch_compile and own.type == "cuda"
    if compiled:
        network.compile(with_eager_fallback(compile_one_graph, context.long_work))
    reader = ClipTextEncoder(parts.tokenizer, parts.text_encoder)
    line = f"refiner {parts.digest}; preset {preset_digest(context.folder)}; {machine_description(own)}"
    return WindowRefiner(RefinerModels(network, parts.vae, reader), config, line + ("; compiled" if compiled else ""))


def _parts(context: LoadContext[SdeditPreset], device: torch.device, dtype: torch.dtype) -> RefinerParts:
    source = context.preset.source
    if source is None:
        return parts_of_folder(context.weights, device, dtype)
    return parts_of_repository(source, device, dtype)


def refiner_config(preset: SdeditPreset, scheduler_of_source: Mapping[str, Any] | None = None) -> RefinerConfig:
    """The config of a preset. `scheduler_of_source`: diffusers scheduler config, used if the preset has none."""
    config = scheduler_of_source if preset.scheduler is None else preset.scheduler.model_dump()
    schedule = None if config is None else schedule_from_config(config)
    return RefinerConfig(
        sigmas_T=vid2vid_sigmas() if schedule is None else (1 - schedule.alphas_cumprod_T).sqrt(),
        prediction="v_prediction" if schedule is None else schedule.prediction,
        guidance_rescale=preset.guidance_rescale,
        vid2vid_resampling=preset.resampling == "vid2vid",
        windows_per_batch=preset.windows_per_batch,
        prompt_suffix=preset.prompt_suffix,
    )
