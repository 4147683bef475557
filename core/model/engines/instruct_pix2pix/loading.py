"""Loads the engine from a weights folder in the layout of diffusers' pipelines.

It holds unet/, vae/, text_encoder/, scheduler/ and tokenizer/; parts that it lacks are those of the preset that
`shares` names.
"""

from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from core.model.engines.instruct_pix2pix.engine import EditModels, InstructPix2PixEngine
from core.model.engines.instruct_pix2pix.preset import InstructPix2PixPreset
from core.model.engines.instruct_pix2pix.schedulers import SCHEDULERS
from core.model.networks.cross_frame_attention import attend_to_first_frames
from core.model.pipelines.checks import check_sizes, check_texts
from core.model.pipelines.loading import Placement, prepare, pretrained
from core.model.pipelines.stable_diffusion import load_text_reader
from core.model.presets.files import FIX, read_json
from core.model.presets.fingerprint import pipeline_fingerprint
from core.service.domain.errors import PresetError
from core.service.engines.load_context import LoadContext

Context = LoadContext[InstructPix2PixPreset]


def load_engine_of(context: Context, device: str | None = None) -> InstructPix2PixEngine:
    """The engine of a preset. Raises PresetError naming the file or key at fault.

    `device` None: CUDA if there is one, else CPU.
    """
    placement = prepare(context, device)
    with context.long_work(f"loading {context.preset.name}"):
        models = _models(context, placement)
    return InstructPix2PixEngine(models, pipeline_fingerprint(context, placement.device))


def _models(context: Context, placement: Placement) -> EditModels:
    unet = pretrained(UNet2DConditionModel, context.part("unet"), placement.dtype)
    vae = pretrained(AutoencoderKL, context.part("vae"), placement.dtype)
    texts = load_text_reader(context.part, placement.dtype)
    scheduler = scheduler_of(context.part("scheduler"))
    _check_channels(context, unet, vae)
    check_texts(context, unet, texts)
    check_sizes(context, vae)
    attend_to_first_frames(unet)
    if not placement.offloads:
        for network in (unet, vae, *texts.networks):
            network.to(placement.device)
    return EditModels(unet, scheduler, vae, texts, placement)


def scheduler_of(folder: Path) -> Any:
    """The scheduler of scheduler_config.json. Raises PresetError for one that this engine has not."""
    file = folder / "scheduler_config.json"
    config = read_json(file)
    name = str(config.get("_class_name"))
    if name not in SCHEDULERS:
        raise PresetError(f"{file}: {name} is not supported", fix=f"use the config of {' or '.join(SCHEDULERS)}")
    return SCHEDULERS[name].from_config(config)


def _check_channels(context: Context, unet: Any, vae: Any) -> None:
    """Raises PresetError unless the UNet reads the latents of a picture beside the noisy ones."""
    wanted, has = 2 * vae.config.latent_channels, unet.config.in_channels
    if has != wanted:
        raise PresetError(f"{context.part('unet')} is no editor: it has {has} input channels, not {wanted}", fix=FIX)
