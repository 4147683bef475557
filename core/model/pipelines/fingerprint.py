"""The fingerprint of engines on diffusers pipelines."""

from typing import Any

import torch

from core.model.presets.fingerprint import machine_description, preset_digest, weights_digest
from core.service.engines.load_context import LoadContext


def pipeline_fingerprint(context: LoadContext[Any], device: torch.device) -> str:
    """What the bytes of a video depend on besides its request, in one line: weights, shared ones too, and machine."""
    folders = [folder for folder in (context.weights, context.shared) if folder is not None]
    weights = " + ".join(weights_digest(folder) for folder in folders)
    return f"weights {weights}; preset {preset_digest(context.folder)}; {machine_description(device)}"
