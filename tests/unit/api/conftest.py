"""The API over fakes, for every test in this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from core.service.settings import Settings
from tests.helpers.api_world import World
from tests.helpers.presets import write_fake_preset


@pytest.fixture
def world(tmp_path: Path) -> World:
    write_fake_preset(tmp_path, "fake", refiner=True)
    return World(Settings(presets_dir=tmp_path, default_model="fake"))


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client() as client:
        yield client
