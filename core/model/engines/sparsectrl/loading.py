"""Loads the engine `sparsectrl` from a weights folder.

It has unet/, vae/, text_encoder/, tokenizer/ and scheduler/ of Stable Diffusion 1.5, motion_adapter/, and
controlnet/rgb/ with SparseCtrl's encoder of pictures.
"""

from typing import Any

import torch
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel

from core.model.engines.sparsectrl.engine import SparseCtrlEngine
from core.model.engines.sparsectrl.pipeline import LatentConditionPipeline
from core.model.engines.sparsectrl.preset import SparseCtrlPreset
from core.model.pipelines.animatediff import animatediff_parts
from core.model.pipelines.loading import load, load_part, prepare
from core.model.presets.fingerprint import pipeline_fingerprint
from core.service.domain.errors import PresetError
from core.service.engines.load_context import LoadContext

CONTROL_NET = "controlnet/rgb"


def load_engine_of(context: LoadContext[SparseCtrlPreset], device: str | None = None) -> SparseCtrlEngine:
    """The engine of a preset. Raises PresetError naming what is missing. `device` None: CUDA if there is one."""
    preset, placement = context.preset, prepare(context, device)

    def make() -> Any:
        control_net = _control_net(context, placement.dtype)
        return LatentConditionPipeline(**animatediff_parts(context, placement.dtype), controlnet=control_net)

    fingerprint = pipeline_fingerprint(context, placement.device)
    return SparseCtrlEngine(load(preset.name, make, placement), preset, placement.device, fingerprint)


def _control_net(context: LoadContext[SparseCtrlPreset], dtype: torch.dtype) -> Any:
    """SparseCtrl's encoder. Raises PresetError for one of sketches, which does not read latents."""
    control_net = load_part(SparseControlNetModel, context.part(CONTROL_NET), dtype)
    if not control_net.use_simplified_condition_embedding:
        raise PresetError(
            f"{CONTROL_NET} reads pictures, not latents: it is not SparseCtrl's for RGB", fix="pull again"
        )
    return control_net
