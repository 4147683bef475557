"""Loads the engine from a weights folder in the layout of diffusers' pipelines.

It holds unet/, vae/, text_encoder/, scheduler/ and tokenizer/tokenizer.json; parts that it lacks are those of the
preset that `shares` names.
"""

from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix import (
    StableDiffusionInstructPix2PixPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from transformers.models.clip.modeling_clip import CLIPTextModel

from core.model.cores import usable_cores
from core.model.engines.instruct_pix2pix.engine import EditModels, InstructPix2PixEngine
from core.model.engines.instruct_pix2pix.preset import InstructPix2PixPreset
from core.model.networks.cross_frame_attention import attend_to_first_frames
from core.model.networks.encoders import ClipTextEncoder
from core.model.networks.pretrained import loading
from core.model.pipelines.loading import Placement, load
from core.model.presets.files import FIX, read_json, read_tokenizer
from core.model.presets.fingerprint import machine_description, preset_digest, weights_digest
from core.model.sampling.device import select_device
from core.service.domain.errors import PresetError
from core.service.engines.load_context import LoadContext

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
SCHEDULERS: dict[str, Any] = {
    "DDIMScheduler": DDIMScheduler,
    "EulerAncestralDiscreteScheduler": EulerAncestralDiscreteScheduler,
}
"""By the names in scheduler_config.json."""


def load_engine_of(context: LoadContext[InstructPix2PixPreset], device: str | None = None) -> InstructPix2PixEngine:
    """The engine of a preset. Raises PresetError naming the file at fault.

    `device` None: CUDA if there is one, else CPU.
    """
    preset = context.preset
    torch.set_num_threads(context.torch_threads or usable_cores())
    own = select_device(device)
    placement = Placement(own, context.long_work, getattr(torch, preset.gpu_dtype), shares_gpu=preset.offload)
    pipeline = load(preset.name, lambda: _pipeline(context, placement.dtype), placement)
    reader = ClipTextEncoder(read_tokenizer(context.part("tokenizer").parent), pipeline.text_encoder)
    models = EditModels(pipeline.unet, pipeline.scheduler, pipeline.vae, reader, own)
    return InstructPix2PixEngine(models, fingerprint_of(context, own))


def _pipeline(context: LoadContext[InstructPix2PixPreset], dtype: torch.dtype) -> Any:
    """The library's pipeline, which keeps the networks where they belong; its call is not used."""
    unet = pretrained(UNet2DConditionModel, context.part("unet"), dtype)
    vae = pretrained(AutoencoderKL, context.part("vae"), dtype)
    _check_channels(context.part("unet"), unet, vae)
    attend_to_first_frames(unet)
    make = cast(Any, StableDiffusionInstructPix2PixPipeline)
    return make(
        vae=vae,
        text_encoder=pretrained(CLIPTextModel, context.part("text_encoder"), dtype),
        tokenizer=None,
        unet=unet,
        scheduler=scheduler_of(context.part("scheduler")),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def pretrained(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A network of a class of diffusers or transformers, from safetensors files of a folder, in evaluation mode.

    Raises PresetError.
    """
    half = any(folder.glob("*.fp16.safetensors"))
    with loading(str(folder)):
        network, found = kind.from_pretrained(
            folder,
            dtype=dtype,
            variant="fp16" if half else None,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    missing = sorted(found["missing_keys"])
    if missing:
        raise PresetError(f"the weights in {folder} lack {len(missing)} tensors, such as {missing[0]}", fix=FIX)
    return network.eval().requires_grad_(False)


def scheduler_of(folder: Path) -> Any:
    """The scheduler of scheduler_config.json. Raises PresetError for one that this engine has not."""
    file = folder / "scheduler_config.json"
    config = read_json(file)
    name = str(config.get("_class_name"))
    if name not in SCHEDULERS:
        raise PresetError(f"{file}: {name} is not supported", fix=f"use the config of {' or '.join(SCHEDULERS)}")
    return SCHEDULERS[name].from_config(config)


def _check_channels(folder: Path, unet: Any, vae: Any) -> None:
    """Raises PresetError unless the UNet reads the latents of a picture beside the noisy ones."""
    wanted, has = 2 * vae.config.latent_channels, unet.config.in_channels
    if has != wanted:
        raise PresetError(f"{folder} is no editor: it has {has} input channels, not {wanted}", fix=FIX)


def fingerprint_of(context: LoadContext[InstructPix2PixPreset], device: torch.device) -> str:
    """What the bytes of a video depend on besides its request, in one line."""
    shared = [context.part(name) for name in PARTS if context.part(name).parent != context.weights]
    return "; ".join(
        [
            f"weights {weights_digest(context.weights)}",
            *(f"{folder.name} {weights_digest(folder)}" for folder in shared),
            f"preset {preset_digest(context.folder)}",
            machine_description(device),
        ]
    )
