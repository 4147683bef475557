"""Loads CogVideoX from a weights folder in diffusers' layout: its networks once, for all pipelines that use them."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline
from diffusers.pipelines.cogvideo.pipeline_cogvideox_video2video import CogVideoXVideoToVideoPipeline
from transformers import T5EncoderModel, T5Tokenizer

from core.model.engines.cogvideox.engine import CogVideoXEngine
from core.model.engines.cogvideox.preset import CogVideoXPreset
from core.model.engines.cogvideox.schedulers import BY_DIFFUSERS_NAME, SCHEDULERS
from core.model.engines.cogvideox.windows import Pipelines
from core.model.pipelines.loading import Placement, load, load_part, prepare
from core.model.presets.files import FIX, read_json
from core.model.presets.fingerprint import pipeline_fingerprint
from core.service.domain.errors import PresetError
from core.service.engines.load_context import LoadContext

_FIX_OF_PRESET = "correct preset.json, or install the weights that it was written for"


def load_engine_of(context: LoadContext[CogVideoXPreset], device: str | None = None) -> CogVideoXEngine:
    """The engine of a preset. Raises PresetError naming the file or the key at fault.

    `device` None: CUDA if there is one, else CPU.
    """
    preset, placement = context.preset, prepare(context, device)
    pipelines = _load_pipelines(context, placement)
    _check(preset, pipelines.main)
    return CogVideoXEngine(pipelines, preset, placement.device, pipeline_fingerprint(context, placement.device))


def _load_pipelines(context: LoadContext[CogVideoXPreset], placement: Placement) -> Pipelines:
    """One set of networks in one pipeline, or in two. Raises PresetError."""
    kind: Any = CogVideoXImageToVideoPipeline if context.preset.takes_image else CogVideoXPipeline
    main = load(context.preset.name, lambda: kind(**_parts(context, placement.dtype)), placement)
    if context.preset.takes_image:
        return Pipelines(main)
    return Pipelines(main, load(context.preset.name, lambda: _video_pipeline(main), placement))


def _video_pipeline(main: Any) -> Any:
    return CogVideoXVideoToVideoPipeline(**main.components)


def _parts(context: LoadContext[CogVideoXPreset], dtype: torch.dtype) -> dict[str, Any]:
    """The networks, the tokenizer and the scheduler. Raises PresetError, and what from_pretrained raises."""
    networks = {
        "text_encoder": T5EncoderModel,
        "transformer": CogVideoXTransformer3DModel,
        "vae": AutoencoderKLCogVideoX,
    }
    parts = {name: load_part(kind, context.part(name), dtype) for name, kind in networks.items()}
    return {**parts, "tokenizer": load_part(T5Tokenizer, context.part("tokenizer")), "scheduler": _scheduler(context)}


def _scheduler(context: LoadContext[CogVideoXPreset]) -> Any:
    """The sampler that the preset names, or else the folder. Raises PresetError for one of another model."""
    folder = context.part("scheduler")
    stored = str(read_json(folder / "scheduler_config.json").get("_class_name"))
    name = context.preset.scheduler or BY_DIFFUSERS_NAME.get(stored)
    if name is None:
        raise PresetError(f"{folder} is a {stored}, which is no scheduler of CogVideoX", fix=FIX)
    return load_part(SCHEDULERS[name], folder, timestep_spacing=context.preset.timestep_spacing)


@dataclass(frozen=True)
class _Demand:
    """What must be so for a preset to fit its networks."""

    is_met: bool
    problem: str


def _check(preset: CogVideoXPreset, pipeline: Any) -> None:
    """Raises PresetError if the preset asks for what its networks cannot do."""
    for demand in _demands(preset, pipeline.transformer.config, pipeline.vae.config):
        if not demand.is_met:
            raise PresetError(f"{preset.name}: {demand.problem}", fix=_FIX_OF_PRESET)


def _demands(preset: CogVideoXPreset, transformer: Any, vae: Any) -> list[_Demand]:
    channels = vae.latent_channels * (2 if preset.takes_image else 1)
    kind = "image-to-video" if preset.takes_image else "text-to-video"
    own_height, own_width = (8 * side for side in (transformer.sample_height, transformer.sample_width))
    is_own = (preset.height, preset.width) == (own_height, own_width) and preset.size is None
    learned = transformer.use_learned_positional_embeddings
    return [
        _Demand(
            transformer.in_channels == channels,
            f"continuation {preset.continuation} needs a transformer for {kind}, with {channels} channels;"
            f" this one has {transformer.in_channels}",
        ),
        _Demand(
            transformer.patch_size_t is None, "CogVideoX 1.5, which joins latent frames in pairs, is not supported"
        ),
        _Demand(
            preset.max_prompt_tokens < transformer.max_text_seq_length,
            f"max_prompt_tokens must be below {transformer.max_text_seq_length}: the text ends with a token",
        ),
        _Demand(
            not learned or preset.window_frames == transformer.sample_frames,
            f"window_frames must be {transformer.sample_frames}: positions were learned for that length",
        ),
        _Demand(
            not learned or is_own,
            f"height, width and size must be {own_height}, {own_width} and unset: positions were learned for them",
        ),
    ]
