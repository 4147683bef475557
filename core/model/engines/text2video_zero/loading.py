"""Loads the engine from a weights folder in the layout of diffusers' pipelines.

It holds unet/, vae/, scheduler/, text_encoder/ and tokenizer/ (Stable Diffusion XL: text_encoder_2/ and tokenizer_2/,
too), and perhaps controlnet/TYPE/. Parts that it lacks are those of the preset that `shares` names.
"""

from pathlib import Path
from typing import Any, get_args

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from pydantic import ValidationError

from core.model.engines.text2video_zero.engine import TextToVideoZeroEngine, ZeroModels
from core.model.engines.text2video_zero.preset import TextToVideoZeroPreset, controlnet_part
from core.model.networks.cross_frame_attention import attend_to_first_frames
from core.model.pipelines.checks import check_sizes, check_texts
from core.model.pipelines.loading import Placement, prepare, pretrained
from core.model.pipelines.stable_diffusion import load_text_reader
from core.model.presets.files import FIX, read_json
from core.model.presets.fingerprint import pipeline_fingerprint
from core.model.sampling.config import NoiseScheduleConfig, Spacing
from core.model.sampling.lru_cache import LruCache
from core.model.sampling.schedules import NoiseSchedule, schedule_from_config
from core.service.domain.errors import PresetError
from core.service.engines.load_context import LoadContext

_CONTROLNETS = 2
"""Loaded at their first use; so many stay."""

Context = LoadContext[TextToVideoZeroPreset]


def load_engine_of(context: Context, device: str | None = None) -> TextToVideoZeroEngine:
    """The engine of a preset. Raises PresetError naming the file or key at fault.

    `device` None: CUDA if there is one, else CPU.
    """
    preset, placement = context.preset, prepare(context, device)
    with context.long_work(f"loading {preset.name}"):
        models = _models(context, placement)
    return TextToVideoZeroEngine(models, preset, pipeline_fingerprint(context, placement.device))


def _models(context: Context, placement: Placement) -> ZeroModels:
    unet = _network(UNet2DConditionModel, context.part("unet"), placement, placement.dtype)
    # In float32 everywhere: that of Stable Diffusion XL overflows in float16.
    vae = _network(AutoencoderKL, context.part("vae"), placement, torch.float32)
    texts = load_text_reader(context.part, placement.dtype)
    attend_to_first_frames(unet)
    _check_channels(context, unet, vae)
    check_sizes(context, vae)
    check_texts(context, unet, texts)
    for encoder in texts.networks:
        _place(encoder, placement)
    schedule, spacing, offset = read_schedule(context.part("scheduler") / "scheduler_config.json")
    controlnets = ControlNets(context, placement, unet)
    return ZeroModels(unet, vae, texts, controlnets, schedule, spacing, offset, placement)


def _network(kind: Any, folder: Path, placement: Placement, dtype: torch.dtype) -> Any:
    return _place(pretrained(kind, folder, dtype), placement)


def _place(network: Any, placement: Placement) -> Any:
    """On the device, unless networks wait in main memory while they are not used."""
    return network if placement.offloads else network.to(placement.device)


class ControlNets:
    """ControlNets by type."""

    def __init__(self, context: Context, placement: Placement, unet: Any) -> None:
        self._context = context
        self._placement = placement
        self._text_width = unet.config.cross_attention_dim
        self._loaded: LruCache[str, Any] = LruCache(_CONTROLNETS)

    def __call__(self, control_type: str) -> Any:
        """The ControlNet of a type; its frames read the first one. Raises PresetError."""
        return self._loaded.get(control_type, lambda: self._load(control_type))

    def _load(self, control_type: str) -> Any:
        folder = self._context.part(controlnet_part(control_type))
        if not folder.is_dir():
            pull = f"longtake pull {self._context.preset.name} --with {control_type}"
            raise PresetError(f"{folder} is missing: the ControlNet of type {control_type}", fix=f"run `{pull}`")
        # Weights created in inference mode cannot be moved later.
        with self._context.long_work(f"loading the ControlNet {control_type}"), torch.inference_mode(False):
            network = _network(ControlNetModel, folder, self._placement, self._placement.dtype)
        if network.config.cross_attention_dim != self._text_width:
            widths = f"{network.config.cross_attention_dim} wide, not {self._text_width}"
            raise PresetError(f"{folder} is the ControlNet of another model: it reads texts {widths}", fix=FIX)
        attend_to_first_frames(network)
        return network


def read_schedule(file: Path) -> tuple[NoiseSchedule, Spacing, int]:
    """Noise schedule, placement of timesteps and steps_offset of a diffusers scheduler, for DDIM.

    Raises PresetError for a schedule of another kind.
    """
    config = read_json(file)
    try:
        known = {key: config[key] for key in NoiseScheduleConfig.model_fields if key in config}
        NoiseScheduleConfig.model_validate(known)
    except ValidationError as error:
        first = error.errors()[0]
        raise PresetError(f"{file}: {first['loc'][0]}: {first['msg']}", fix=FIX) from error
    spacing = config.get("timestep_spacing", "leading")
    if spacing not in get_args(Spacing) or config.get("trained_betas") is not None:
        raise PresetError(f"{file}: timestep_spacing {spacing} or trained_betas cannot be used", fix=FIX)
    return schedule_from_config(config), spacing, int(config.get("steps_offset", 0))


def _check_channels(context: Context, unet: Any, vae: Any) -> None:
    """Raises PresetError unless the UNet reads and returns the VAE's latents: not for inpainting or editing."""
    channels, wanted = {unet.config.in_channels, unet.config.out_channels}, vae.config.latent_channels
    if channels != {wanted}:
        raise PresetError(f"{context.part('unet')} has {sorted(channels)} channels, not {wanted}", fix=FIX)
