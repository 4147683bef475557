"""The refiner of a preset: <weights>/refiner/, or the repository that preset.json names, becomes a RefineEngine.

The folder holds unet/ and, where they are not the preset's own, text_encoder/, vae/ and tokenizer/. Knows what
preset.json says; layouts are in parts.py, denoising is elsewhere.
"""

import logging
from pathlib import Path

import torch

from core.model.cores import usable_cores
from core.model.engines.streaming_t2v.preset import read_preset
from core.model.networks.base_network import UntouchedBase
from core.model.networks.compilation import compile_one_graph, with_eager_fallback
from core.model.networks.encoders import ClipTextEncoder
from core.model.networks.kernels import lay_out_for_gpu
from core.model.presets.fingerprint import facts_digest, machine_facts
from core.model.refinement.engine import RefinerModels, WindowRefiner
from core.model.refinement.parts import fetch_repository, parts_of_folder, parts_of_repository
from core.model.refinement.unet import with_vid2vid_resampling
from core.model.sampling.device import select_device
from core.model.sampling.vae import enable_tiling
from core.service.domain.engine import LongWork, unannounced
from core.service.domain.errors import PresetError

logger = logging.getLogger(__name__)


def fetch_refiner(folder: Path) -> None:
    """Bring a refiner that preset.json names by its id to this machine, before a job waits for it.

    Only warns where that fails: jobs that are not refined do not need it.
    """
    facts = read_preset(folder).refiner
    if facts is None or facts.source is None:
        return
    try:
        fetch_repository(facts.source)
    except PresetError as error:
        logger.warning("refinement has to wait: %s", error.with_fix)


def load_refiner(
    folder: Path,
    *,
    weights: Path | None = None,
    device: str | None = None,
    torch_threads: int = 0,
    torch_compile: bool = False,
    long_work: LongWork = unannounced,
) -> WindowRefiner:
    """Load a preset's refiner. Raises PresetError naming the file at fault, or that there is no refiner.

    The arguments are those of `load_engine`.
    """
    torch.set_num_threads(torch_threads or usable_cores())
    where = select_device(device)
    facts = read_preset(folder).refiner
    if facts is None:
        raise PresetError(f"{folder / 'preset.json'} names no refiner", fix="use a preset that has one")
    dtype = getattr(torch, facts.gpu_dtype) if where.type == "cuda" else torch.float32
    if facts.source is None:
        parts = parts_of_folder(weights or folder, where, dtype)
    else:
        parts = parts_of_repository(facts.source, where, dtype)
    config = facts.config(parts.noise_schedule() if facts.scheduler is None else None)
    if facts.vae_tile is not None:
        enable_tiling(parts.vae, facts.vae_tile)
    if where.type == "cuda":
        lay_out_for_gpu(parts.unet)
    unet = with_vid2vid_resampling(parts.unet) if config.vid2vid_resampling else parts.unet
    network = UntouchedBase(unet)
    compiled = torch_compile and where.type == "cuda"
    if compiled:
        network.compile(with_eager_fallback(compile_one_graph, long_work))
    reader = ClipTextEncoder(parts.tokenizer, parts.text_encoder)
    line = f"refiner {parts.digest}; preset {facts_digest(folder)}; {machine_facts(where)}"
    return WindowRefiner(RefinerModels(network, parts.vae, reader), config, line + ("; compiled" if compiled else ""))
