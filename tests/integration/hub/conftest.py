"""A Hub on loopback, and the preset that is pulled from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.service.admission.catalog import PresetFolder
from tests.helpers.hub_server import Hub
from tests.helpers.pulling import hub_of, preset_below, write_repositories


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repositories(tmp_path_factory.mktemp("repositories"))


@pytest.fixture
def hub(repositories: Path) -> Iterator[Hub]:
    with hub_of(repositories) as hub:
        yield hub


@pytest.fixture
def preset(tmp_path: Path) -> PresetFolder:
    return preset_below(tmp_path)
