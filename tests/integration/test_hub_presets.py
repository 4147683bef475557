"""Every shipped preset of the Hub's pipelines: pulled from a Hub on loopback by its real names, loaded, used once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.model.checksums import verify_sums
from core.service.admission.catalog import Catalog, default_spec
from core.service.domain.engine import NO_INPUT_MEDIA, InputMedia, ignore_step
from core.service.domain.schema import ControlSpec, JobSpec
from core.service.engines.preset import Preset
from core.service.settings import Settings
from tests.helpers.hub_presets import TinyModel, pull_all, shipped_pipelines, write_hub_preset
from tests.helpers.hub_server import Hub, running_hub
from tests.helpers.pipelines_zero import Frames
from tests.helpers.tiny_models import TINY_MODELS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' Euler


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


def test_every_shipped_pipeline_has_its_tiny_form() -> None:
    assert set(TINY_MODELS) == shipped_pipelines()


@pytest.mark.parametrize("name", TINY_MODELS)
def test_a_preset_is_pulled_under_the_real_names_and_makes_a_chunk(name: str, hub: Hub, tmp_path: Path) -> None:
    model = TINY_MODELS[name]
    write_hub_preset(tmp_path / "presets", name, model)
    settings = Settings(presets_dir=tmp_path / "presets", weights_dir=tmp_path / "installed", torch_threads=1)
    catalog = Catalog(settings)
    folder = catalog.get(name)

    pull_all(hub, catalog, {name: model}, tmp_path / "repositories")

    assert folder.installed_parts == list(folder.preset.capabilities.control)
    verify_sums(folder.weights)
    if folder.preset.capabilities.prompt != "no":
        assert folder.tokenizer.count("a red square") > 2
    engine = folder.engine.load(folder.engine_context())
    spec, inputs = _request(model, folder.preset)
    chunk = engine.next_chunk(spec, engine.start(spec, inputs), ignore_step, inputs)
    assert chunk.frames.shape == (16, folder.preset.height, folder.preset.width, 3)
    assert chunk.frames.std() > 1


def _request(model: TinyModel, preset: Preset) -> tuple[JobSpec, InputMedia]:
    """The spec and the input media of a request with the model's fields."""
    has_prompt = preset.capabilities.prompt != "no"
    spec = default_spec(preset, "a red square" if has_prompt else "", num_frames=32, seed=3)
    height, width = preset.height, preset.width
    noise = np.random.default_rng(0).integers(0, 256, (32, height, width, 3), np.uint8)
    if "control" in model.fields:
        control = ControlSpec(scale=1, start=0, end=1, **model.fields["control"])
        spec = spec.model_copy(update={"control": control})
    if "image" in model.fields:
        return spec, InputMedia(image=noise[0])
    reads_video = {"control", "video"} & model.fields.keys()
    return spec, InputMedia(video=Frames(noise)) if reads_video else NO_INPUT_MEDIA
