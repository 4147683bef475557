"""The example engine with windows of its own (docs/engines.md) keeps what every engine promises."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from core.service.admission.catalog import Catalog, default_spec
from core.service.domain.engine import Engine
from core.service.engines.definition import ENGINES
from core.service.settings import Settings
from tests.conftest import REPOSITORY
from tests.helpers.engine_contract import EngineContract
from tests.helpers.jobs import job_spec

SIDE = 32
PACKAGE = REPOSITORY / "examples" / "clouds"


@pytest.fixture(scope="module")
def definition() -> Iterator[Any]:
    """As the entry point of its distribution finds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PACKAGE))
        module = importlib.import_module("longtake_clouds")
        patch.setattr(ENGINES, "_loaded", {"clouds": module.CLOUDS})
        yield module.CLOUDS
    for name in [name for name in sys.modules if name.startswith("longtake_clouds")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def engine(definition: Any) -> Engine:
    folder = Catalog(Settings(presets_dir=definition.presets_dir)).get("clouds")
    context = folder.engine_context()
    small = context.preset.model_copy(update={"height": SIDE, "width": SIDE})
    made: Engine = definition.load(replace(context, preset=small))
    return made


class TestContract(EngineContract):
    spec = job_spec(prompt="", num_frames=100, num_inference_steps=2, profile=None, first_chunk=None)
    size = (SIDE, SIDE)


def test_its_preset_says_what_a_request_may_have(definition: Any) -> None:
    preset = Catalog(Settings(presets_dir=definition.presets_dir)).get("clouds").preset
    assert (preset.capabilities.prompt, preset.capabilities.endless) == ("no", True)
    assert default_spec(preset, "", 16, 1).num_inference_steps == 4
