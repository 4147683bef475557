"""Two processes that train one model, really started: they take turns in the batches of one and come to the same."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.model.training.parallel import launch
from core.model.training.recipe import Recipe, load_recipe
from core.model.training.run import run


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
