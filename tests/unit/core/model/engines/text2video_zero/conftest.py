"""Tiny presets with random weights, and their engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.model.engines.text2video_zero.engine import TextToVideoZeroEngine
from core.model.engines.text2video_zero.loading import load_engine_of
from core.service.domain.schema import ControlSpec, JobSpec
from core.service.engines.definition import read_preset
from core.service.engines.load_context import LoadContext
from tests.helpers.jobs import job_spec
from tests.helpers.pipelines_zero import STEPS, write_zero_preset


def load(folder: Path, **more: Any) -> TextToVideoZeroEngine:
    """The engine of a preset folder that is its own weights folder."""
    preset: Any = read_preset(folder)
    return load_engine_of(LoadContext(preset, folder, folder, torch_threads=1, **more), "cpu")


def zero_spec(**changes: Any) -> JobSpec:
    """A red circle in two chunks, with guidance."""
    values: dict[str, Any] = {
        "model": "zero",
        "guidance_scale": 7.5,
        "num_inference_steps": STEPS,
        "profile": None,
        "first_chunk": None,
    }
    return job_spec(**(values | changes))


def canny(**changes: Any) -> ControlSpec:
    values: dict[str, Any] = {"type": "canny", "video": "upload_1", "scale": 1.0, "start": 0.0, "end": 1.0}
    return ControlSpec(**(values | changes))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zero_preset(tmp_path_factory.mktemp("presets") / "zero", control=("canny", "depth"))


@pytest.fixture(scope="session")
def xl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zero_preset(tmp_path_factory.mktemp("presets") / "zero-xl", xl=True)


@pytest.fixture(scope="session")
def engine(folder: Path) -> TextToVideoZeroEngine:
    return load(folder)


@pytest.fixture(scope="session")
def resuming(folder: Path) -> TextToVideoZeroEngine:
    return load(folder)
