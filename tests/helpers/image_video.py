"""Small image-to-video models with random weights, as installed presets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.service.domain.engine import InputMedia
from core.service.domain.schema import JobSpec
from core.service.engines.definition import read_preset
from core.service.engines.load_context import LoadContext
from core.service.engines.preset import Preset
from tests.helpers.jobs import job_spec

SIZE = (16, 24)
"""Height and width of their frames."""
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
INPUTS = InputMedia(image=PICTURE)


def write_preset(folder: Path, engine: str, write_weights: Callable[[Path], object], **changes: Any) -> Path:
    """A preset of `engine` with its weights beside preset.json."""
    write_weights(folder)
    keys: dict[str, Any] = {
        "name": folder.name,
        "description": "Noise.",
        "engine": engine,
        "height": SIZE[0],
        "width": SIZE[1],
        "fps": 7,
        "max_prompt_tokens": 22,
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "window_frames": 14,
        "conditioning_fps": 7,
        "decode_chunk_size": 4,
    }
    (folder / "preset.json").write_text(json.dumps({**keys, **changes}))
    return folder


def context_of(folder: Path, **changes: Any) -> LoadContext[Any]:
    """The context in which a worker loads the preset, with changed keys."""
    preset: Preset = read_preset(folder)
    changed = type(preset).model_validate({**preset.model_dump(), **changes})
    return replace(LoadContext(changed, folder, folder), torch_threads=1)


def image_job(**changes: Any) -> JobSpec:
    """100 frames from an image."""
    values: dict[str, Any] = {
        "prompt": "a cat",
        "num_frames": 100,
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "profile": None,
        "first_chunk": None,
    }
    return job_spec(**(values | changes))
