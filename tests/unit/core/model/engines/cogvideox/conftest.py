"""Installed weights of small CogVideoX with random weights, one folder per kind for all tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.model.engines.cogvideox.engine import CogVideoXEngine
from core.model.engines.cogvideox.loading import load_engine_of
from core.model.engines.cogvideox.preset import CogVideoXPreset
from core.service.engines.load_context import LoadContext
from tests.helpers.pipelines_cogvideox import SIDE, TEXT_TOKENS, WINDOW_FRAMES, write_installed

PRESET: dict[str, Any] = {
    "name": "toy",
    "description": "random weights",
    "engine": "cogvideox",
    "height": SIDE,
    "width": SIDE,
    "fps": 8,
    "max_prompt_tokens": TEXT_TOKENS - 1,
    "num_inference_steps": 2,
    "guidance_scale": 6.0,
    "continuation": "overlap",
    "window_frames": WINDOW_FRAMES,
}

EngineOf = Callable[..., CogVideoXEngine]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """text: positions as in 2B; rotary: as in 5B; image: as in 5B-I2V."""
    root = tmp_path_factory.mktemp("cogvideox")
    return {
        "text": write_installed(root / "text"),
        "rotary": write_installed(root / "rotary", rotary=True),
        "image": write_installed(root / "image", image=True),
    }


@pytest.fixture(scope="session")
def engine_of(folders: dict[str, Path]) -> EngineOf:
    """An engine of one of the folders, with other values in its preset.json."""

    def make(kind: str, **changes: Any) -> CogVideoXEngine:
        return load_engine_of(context_of(folders[kind], kind, **changes), "cpu")

    return make


def context_of(folder: Path, kind: str = "text", **changes: Any) -> LoadContext[CogVideoXPreset]:
    own = {"continuation": "last_frame"} if kind == "image" else {}
    (folder / "preset.json").write_text(json.dumps({**PRESET, **own, **changes}))
    preset = CogVideoXPreset.model_validate({**PRESET, **own, **changes})
    return LoadContext(preset, folder, folder, torch_threads=1)
