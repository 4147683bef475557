"""Two real processes that train one model: they share the batches of one process and give the same result."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.model.training.command import run
from core.model.training.loop.checkpoints import StageNotTrained, require_trained
from core.model.training.loop.parallel import launch
from core.model.training.recipe import Recipe, load_recipe
from core.model.training.sprites_run import SpritesTrainingRun

SMOKE = load_recipe("sprites").smoke()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which one process has trained the autoencoder with two batches a step, and encoded clips."""
    folder = tmp_path_factory.mktemp("one")
    train_and_encode(with_batches(SMOKE, 2), folder, folder)
    return folder


@pytest.fixture(scope="module")
def two(one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same by two processes with one batch each. The clips are encoded by the autoencoder of `one`."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(one / "vae", folder / "given" / "vae")
    launch(partial(train_and_encode, with_batches(SMOKE, 1), folder, folder / "given"), 2)
    return folder


def train_and_encode(recipe: Recipe, folder: Path, with_vae: Path) -> None:
    """Both in one launch: a process takes seconds to start."""
    run(recipe, ["vae"], folder, None)
    bank = SpritesTrainingRun(recipe, with_vae).bank
    assert len(bank.latents_ktchw) == len(bank.scenes)


def checkpoint(folder: Path) -> dict[str, Any]:
    """The autoencoder's."""
    return torch.load(folder / "vae/last.pt", weights_only=True)


def with_batches(recipe: Recipe, accumulate: int) -> Recipe:
    stage = recipe.stages["vae"]
    plan = replace(stage.plan, accumulate=accumulate, mixed_precision="no")
    return replace(recipe, stages=recipe.stages | {"vae": replace(stage, plan=plan)})


def test_two_processes_train_as_one_with_twice_the_batches(one: Path, two: Path) -> None:
    ours, theirs = checkpoint(two), checkpoint(one)
    assert ours["step"] == theirs["step"] == 2
    for name, weight in theirs["modules"]["vae"].items():
        torch.testing.assert_close(ours["modules"]["vae"][name], weight, atol=1e-4, rtol=1e-3)


def test_two_processes_encode_the_bank_that_one_encodes(one: Path, two: Path) -> None:
    ours, theirs = (load_file(folder / "bank.safetensors")["latents"] for folder in (two / "given", one))
    torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-2)
    assert [file.name for file in (two / "given").glob("bank*")] == ["bank.safetensors"]


def test_an_error_of_a_process_is_reraised_with_its_type() -> None:
    with pytest.raises(StageNotTrained, match="train the stage 'vae'"):
        launch(partial(require_trained, Path("nowhere/vae")), 2, reraised=(StageNotTrained,))
