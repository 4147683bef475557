"""A folder of tiny presets with random weights, one of each kind that methods are made of."""

from __future__ import annotations

import pytest

from core.model.evaluation.methods.base_model import BaseModel, load_base
from core.model.evaluation.methods.registry import MethodOptions
from core.service.admission.catalog import Catalog
from core.service.domain.schema import DEFAULT_PROFILE
from core.service.settings import Settings
from tests.helpers.image_video import write_preset
from tests.helpers.pipelines import write_svd
from tests.helpers.pipelines_zero import write_zero_json, write_zero_preset
from tests.helpers.random_preset import write_random_preset

SIDE = 32
"""Pixels of the strategies' frames."""


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> MethodOptions:
    presets = tmp_path_factory.mktemp("presets")
    write_random_preset(presets / "toy", size=SIDE, num_inference_steps=2)
    write_zero_preset(presets / "toy-zero", control=(), shares="toy")
    sizes = {"multiple_of": 8, "min_side": 16, "max_side": 64, "max_pixels": 4096}
    write_preset(presets / "toy-svd", "svd", write_svd, size=sizes)
    write_zero_json(presets / "toy-edit", engine="instruct_pix2pix")
    write_zero_json(presets / "toy-broken", nonsense=1)
    return MethodOptions(Settings(presets_dir=presets, torch_threads=1), preset="toy")


@pytest.fixture(scope="session")
def base(options: MethodOptions) -> BaseModel:
    return load_base(Catalog(options.settings).get("toy"), DEFAULT_PROFILE)
