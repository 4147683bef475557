"""What a worker process makes of its arguments and its preset; its life is in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.service.engine import NOTHING_GIVEN
from core.service.errors import PresetError, UnknownModel
from core.service.settings import Settings
from tests.helpers.jobs import job_spec
from tests.helpers.presets import write_fake_preset
from worker.process import load_engine, read_options


def test_a_generation_process_is_named_after_its_model_slot_and_pid() -> None:
    options = read_options(["--kind", "generate", "--model", "fake", "--slot", "1", "--parent-pid", "7"], Settings())
    assert (options.kind, options.model, options.parent_pid) == ("generate", "fake", 7)
    assert options.name.startswith("fake-1-")
    assert "@" in options.name


def test_the_default_model_is_the_deployments() -> None:
    assert read_options(["--kind", "generate"], Settings(default_model="mine")).model == "mine"


def test_a_preset_may_ask_for_the_fake_engine(tmp_path: Path) -> None:
    write_fake_preset(tmp_path, "fake", steps=3)
    engine = load_engine(Settings(presets_dir=tmp_path), "fake")
    spec = job_spec(
        prompt="a", negative_prompt="", num_frames=16, fps=8, seed=1, model="fake", guidance_scale=1,
        num_inference_steps=3,
    )  # fmt: skip
    steps: list[tuple[int, int]] = []
    chunk = engine.next_chunk(spec, engine.start(spec, NOTHING_GIVEN), lambda step, of: steps.append((step, of)))
    assert chunk.frames.shape == (16, 64, 64, 3)
    assert steps == [(0, 3), (1, 3), (2, 3)]


def test_a_preset_that_is_missing_or_damaged_says_so(tmp_path: Path) -> None:
    settings = Settings(presets_dir=tmp_path)
    with pytest.raises(UnknownModel, match="missing"):
        load_engine(settings, "missing")
    (write_fake_preset(tmp_path, "torn") / "preset.json").write_text("{")
    with pytest.raises(PresetError, match=r"preset\.json"):
        load_engine(settings, "torn")


def test_an_engine_that_nobody_knows_is_named(tmp_path: Path) -> None:
    file = write_fake_preset(tmp_path, "odd") / "preset.json"
    file.write_text(file.read_text().replace('"engine": "fake"', '"engine": "no-such-engine"'))
    with pytest.raises(PresetError, match="no-such-engine"):
        load_engine(Settings(presets_dir=tmp_path), "odd")
