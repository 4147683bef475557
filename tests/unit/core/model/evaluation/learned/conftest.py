"""A tiny CLIP checkpoint with random weights, and stand-ins for packages that are not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from core.model.evaluation.learned.clip_model import ClipModel, load_clip
from core.service.domain.engine import FramesTHWC
from tests.helpers.pipelines import tokenizer

SIDE = 16

Install = Callable[..., ModuleType]


def write_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIPModel in transformers' layout, with the tokenizer of letters."""
    width = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"pad_token_id": 53, "bos_token_id": 52, "eos_token_id": 53}
    config = cast(Any, CLIPConfig)(
        text_config={**width, **ends, "vocab_size": 54, "max_position_embeddings": 24},
        vision_config={**width, "image_size": SIDE, "patch_size": 8},
        projection_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CLIPModel(config)
        with torch.no_grad():
            for weight in network.parameters():  # as drawn, all pictures look the same to it
                weight.normal_(std=0.5)
    network.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("networks") / "tiny-clip")


@pytest.fixture(scope="session")
def clip(clip_folder: Path) -> ClipModel:
    return load_clip(str(clip_folder), "cpu")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a module importable for the test's time: install("torchvision.models", alexnet=...)."""

    def installed(name: str, **content: Any) -> ModuleType:
        module = ModuleType(name)
        vars(module).update(content, __path__=[])
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return installed


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package missing for the test's time, whether it is installed or not."""
    return lambda name: monkeypatch.setitem(sys.modules, name, None)


def random_video(num_frames: int, height: int = 20, width: int = 28, seed: int = 0) -> FramesTHWC:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
