"""Two real processes that train one model: they share the batches of one process and give the same result."""

from __future__ import annotations

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


def trained(recipe: Recipe, folder: Path, processes: int) -> dict[str, Any]:
    """The autoencoder's checkpoint after the stage."""
    launch(partial(run, recipe, ["vae"], folder, None), processes)
    return torch.load(folder / "vae/last.pt", weights_only=True)


def with_batches(recipe: Recipe, accumulate: int) -> Recipe:
    stage = recipe.stages["vae"]
    plan = replace(stage.plan, accumulate=accumulate, mixed_precision="no")
    return replace(recipe, stages=recipe.stages | {"vae": replace(stage, plan=plan)})


def test_two_processes_train_as_one_with_twice_the_batches(tmp_path: Path) -> None:
    smoke = load_recipe("sprites").smoke()
    two = trained(with_batches(smoke, 1), tmp_path / "two", processes=2)
    one = trained(with_batches(smoke, 2), tmp_path / "one", processes=1)
    assert two["step"] == one["step"] == 2
    for name, weight in one["modules"]["vae"].items():
        torch.testing.assert_close(two["modules"]["vae"][name], weight, atol=1e-4, rtol=1e-3)


def test_two_processes_encode_the_bank_that_one_encodes(tmp_path: Path) -> None:
    smoke = load_recipe("sprites").smoke()
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        launch(partial(run, smoke, ["vae"], folder, None), 1)
        launch(partial(encode_bank, smoke, folder), processes)

    one, two = (load_file(tmp_path / count / "bank.safetensors")["latents"] for count in ("1", "2"))
    torch.testing.assert_close(two, one, atol=1e-2, rtol=1e-2)
    assert [file.name for file in (tmp_path / "2").glob("bank*")] == ["bank.safetensors"]


def encode_bank(recipe: Recipe, folder: Path) -> None:
    bank = SpritesTrainingRun(recipe, folder).bank
    assert len(bank.latents_ktchw) == len(bank.scenes)


def test_an_error_of_a_process_is_reraised_with_its_type() -> None:
    with pytest.raises(StageNotTrained, match="train the stage 'vae'"):
        launch(partial(require_trained, Path("nowhere/vae")), 2, reraised=(StageNotTrained,))
