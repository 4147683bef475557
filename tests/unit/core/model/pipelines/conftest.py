"""Small models, saved once for all tests of what engines on diffusers pipelines share."""

from pathlib import Path

import pytest

from tests.helpers.image_video import write_preset
from tests.helpers.pipelines import write_sdxl, write_svd


@pytest.fixture(scope="session")
def svd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed preset of the engine `svd`."""
    return write_preset(tmp_path_factory.mktemp("presets") / "toy-svd", "svd", write_svd)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-to-image model whose own pictures are 16x16."""
    folder = tmp_path_factory.mktemp("sdxl")
    write_sdxl(folder)
    return folder
