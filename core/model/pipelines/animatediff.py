"""AnimateDiff's networks (Guo et al. 2024, arXiv 2307.04725): Stable Diffusion 1.5 with a motion adapter.

Loaded from a weights folder for the engines that animate with them; the first-chunk source takes its own from the Hub.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTokenizer
from transformers.models.clip.modeling_clip import CLIPTextModel

from core.model.pipelines.checks import check_prompt_tokens
from core.model.pipelines.loading import load_part
from core.service.engines.load_context import LoadContext

SCHEDULE: dict[str, Any] = {
    "clip_sample": False,
    "timestep_spacing": "linspace",
    "beta_schedule": "linear",
    "steps_offset": 1,
}
"""The published scheduler's, which replace those of the base model."""


def animatediff_parts(context: LoadContext[Any], dtype: torch.dtype) -> dict[str, Any]:
    """The arguments of a pipeline's constructor, from the folders of these names. Raises PresetError.

    `scheduler` is DDIM, as published; `motion_adapter` is put into the UNet by the constructor.
    """
    networks: dict[str, Any] = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "unet": UNet2DConditionModel,
        "motion_adapter": MotionAdapter,
    }
    parts = {name: load_part(kind, context.part(name), dtype) for name, kind in networks.items()}
    tokenizer: Any = load_part(CLIPTokenizer, context.part("tokenizer"))
    check_prompt_tokens(context, tokenizer.model_max_length - tokenizer.num_special_tokens_to_add())
    return {**parts, "tokenizer": tokenizer, "scheduler": animatediff_scheduler(context.part("scheduler"))}


def animatediff_scheduler(folder: Path) -> DDIMScheduler:
    """DDIM with the noise of the base model's scheduler folder. Raises PresetError."""
    return load_part(DDIMScheduler, folder, **SCHEDULE)
