"""A deployment with one preset, of the engine `fake`."""

from pathlib import Path

import pytest

from core.service.settings import Settings
from tests.helpers.presets import write_fake_preset


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_fake_preset(tmp_path, "fake")
    return Settings(presets_dir=tmp_path, default_model="fake", max_frames=800)
