"""A working folder with a base trained by smoke steps, for the ablation and vision tower tests."""

from pathlib import Path

import pytest

from core.model.training.command import main
from core.model.training.recipe import Recipe, load_recipe


@pytest.fixture(scope="session")
def toy_recipe() -> Recipe:
    return load_recipe("sprites").smoke()


@pytest.fixture(scope="session")
def toy_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    stages = [
        argument for stage in ("clip", "tower", "vae", "image", "video", "sight") for argument in ("--stage", stage)
    ]
    assert main(["sprites", "--smoke", "--out", str(folder), *stages]) == 0
    return folder
