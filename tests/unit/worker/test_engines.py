"""Which engines a worker process of each kind loads, when, and its report of a preset that it cannot serve."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from core.service.domain.engine import NO_INPUT_MEDIA
from core.service.domain.errors import PresetError, UnknownModel
from core.service.engines.definition import ENGINES
from core.service.settings import Settings
from core.service.testing.definitions import FAKE_ENGINE
from core.service.testing.engines import FakeRefineEngine
from tests.helpers.jobs import job_spec
from tests.helpers.presets import write_fake_preset
from worker.engines import load_engine, load_engines, load_refiner
from worker.runtime.services import NoActivity


@pytest.mark.parametrize(
    ("kind", "queues"),
    [("both", ["generate.fake", "refine.fake"]), ("generate", ["generate.fake"]), ("refine", ["refine.fake"])],
)
def test_a_process_takes_the_tasks_of_its_kind(tmp_path: Path, kind: Any, queues: list[str]) -> None:
    write_fake_preset(tmp_path, "fake", refiner=True)
    engines = load_engines(kind, Settings(presets_dir=tmp_path), "fake")
    assert engines.queues() == queues


def test_a_refiner_is_loaded_once(tmp_path: Path) -> None:
    write_fake_preset(tmp_path, "fake", refiner=True)
    engines = load_engines("both", Settings(presets_dir=tmp_path), "fake")
    assert engines.load_refiner is not None
    assert isinstance(engines.load_refiner(), FakeRefineEngine)
    assert engines.load_refiner() is engines.load_refiner()


def test_a_refiner_that_is_loaded_within_a_task_is_announced(tmp_path: Path) -> None:
    class Watching(NoActivity):
        told: ClassVar[list[str]] = []

        def loading(self, description: str) -> AbstractContextManager[None]:
            self.told.append(description)
            return nullcontext()

    write_fake_preset(tmp_path, "fake", refiner=True)
    engines = load_engines("both", Settings(presets_dir=tmp_path), "fake", activity=Watching())
    assert Watching.told == []
    assert engines.load_refiner is not None
    engines.load_refiner()
    engines.load_refiner()
    assert Watching.told == ["loading the refiner of fake"]


def test_a_preset_without_a_refiner_is_served_by_generating_only(tmp_path: Path) -> None:
    write_fake_preset(tmp_path, "plain")
    settings = Settings(presets_dir=tmp_path)
    assert load_engines("both", settings, "plain").queues() == ["generate.plain"]
    with pytest.raises(PresetError, match="no refiner"):
        load_engines("refine", settings, "plain")


def test_a_preset_may_ask_for_the_fake_engine(tmp_path: Path) -> None:
    write_fake_preset(tmp_path, "fake", steps=3)
    engine = load_engine(Settings(presets_dir=tmp_path), "fake")
    spec = job_spec(
        prompt="a", negative_prompt="", num_frames=16, fps=8, seed=1, model="fake", guidance_scale=1,
        num_inference_steps=3,
    )  # fmt: skip
    steps: list[tuple[int, int]] = []
    chunk = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), lambda step, of: steps.append((step, of)))
    assert chunk.frames.shape == (16, 64, 64, 3)
    assert steps == [(0, 3), (1, 3), (2, 3)]


def test_a_preset_that_is_missing_or_damaged_says_so(tmp_path: Path) -> None:
    settings = Settings(presets_dir=tmp_path)
    with pytest.raises(UnknownModel, match="missing"):
        load_engine(settings, "missing")
    (write_fake_preset(tmp_path, "torn") / "preset.json").write_text("{")
    with pytest.raises(PresetError, match=r"preset\.json"):
        load_engine(settings, "torn")


def test_an_unknown_engine_is_named(tmp_path: Path) -> None:
    file = write_fake_preset(tmp_path, "odd") / "preset.json"
    file.write_text(file.read_text().replace('"engine": "fake"', '"engine": "no-such-engine"'))
    with pytest.raises(PresetError, match="no-such-engine"):
        load_engine(Settings(presets_dir=tmp_path), "odd")
    with pytest.raises(PresetError, match="no-such-engine"):
        load_refiner(Settings(presets_dir=tmp_path), "odd")


def test_a_loader_that_returns_no_engine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_context: object) -> Any:
        return None

    monkeypatch.setattr(ENGINES, "_loaded", {"fake": replace(FAKE_ENGINE, load=load)})
    write_fake_preset(tmp_path, "fake")
    with pytest.raises(PresetError, match="the engine fake cannot be used: its `load` returned NoneType"):
        load_engine(Settings(presets_dir=tmp_path), "fake")
