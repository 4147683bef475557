"""Presets of the engines animatediff and sparsectrl with tiny random networks, in the layout of an installed folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.pipelines import write_motion_adapter, write_sparse_control_net, write_stable_diffusion

SIDE = 16
"""Pixels: 8 latents."""
PRESET: dict[str, Any] = {
    "description": "Random weights.",
    "height": SIDE,
    "width": SIDE,
    "size": {"multiple_of": 8, "min_side": 16, "max_side": 64, "max_pixels": 4096},
    "fps": 8,
    "max_prompt_tokens": 22,
    "num_inference_steps": 2,
    "guidance_scale": 3.0,
}


WINDOWS = {"window_frames": 24, "context_length": 8, "context_stride": 4}
"""Of animatediff: each window after the first repeats 4 frames."""


def write_animatediff(folder: Path) -> Path:
    """The weights folder of an engine animatediff."""
    write_stable_diffusion(folder)
    write_motion_adapter(folder / "motion_adapter")
    return folder


def write_sparsectrl(folder: Path) -> Path:
    """The weights folder of an engine sparsectrl."""
    write_animatediff(folder)
    write_sparse_control_net(folder / "controlnet" / "rgb")
    return folder


def write_animatediff_preset(folder: Path, **changed: Any) -> Path:
    """A folder with preset.json and the weights."""
    return _write_preset(write_animatediff(folder), engine="animatediff", **{**WINDOWS, **changed})


def write_sparsectrl_preset(folder: Path, **changed: Any) -> Path:
    """A folder with preset.json and the weights. Windows of 16 frames."""
    return _write_preset(write_sparsectrl(folder), engine="sparsectrl", **changed)


def _write_preset(folder: Path, **keys: Any) -> Path:
    (folder / "preset.json").write_text(json.dumps({**PRESET, "name": folder.name, **keys}))
    return folder


class RecordingPipeline:
    """Another pipeline, what it was called with and returned, and how often a shared GPU was freed outside of it."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self.calls: list[dict[str, Any]] = []
        self.results: list[Any] = []
        self.num_freed = 0

    def maybe_free_model_hooks(self) -> None:
        self.num_freed += 1

    def __call__(self, callback_on_step_end: Callable[..., Any] | None = None, **arguments: Any) -> Any:
        self.calls.append(arguments)
        result = self._pipeline(callback_on_step_end=callback_on_step_end, **arguments)
        self.results.append(result.frames)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)
