"""Arguments and recipes that the command refuses before any process starts."""

from dataclasses import replace

import pytest
import torch

from core.model.training.command import check_precision, main
from core.model.training.recipe import RecipeError, load_recipe


def test_half_precision_without_a_gpu_is_refused() -> None:
    recipe = load_recipe("sprites")
    plan = replace(recipe.stages["vae"].plan, mixed_precision="fp16")
    stages = recipe.stages | {"vae": replace(recipe.stages["vae"], plan=plan)}
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RecipeError, match=r'\[stages.vae\] mixed_precision: "fp16" needs a GPU'):
        check_precision(replace(recipe, stages=stages), processes=1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--minutes", "0"], "--minutes: must be a number above 0, not '0'"),
        (["--minutes", "-3"], "--minutes: must be a number above 0, not '-3'"),
        (["--steps", "abc"], "--steps: must be an integer of at least 1, not 'abc'"),
        (["--threads", "2", "--processes", "2"], "--threads is for a single process"),
    ],
)
def test_an_invalid_argument_is_refused(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sprites", *argv])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["streaming-t2v", "--stage", "vae"], "recipe 'streaming-t2v' has cam, apm"),
        (["sprites", "--clips", "x"], "trains on synthetic data"),
        (["streaming-t2v", "--clips", "nowhere"], "nowhere/captions.jsonl is missing"),
        (["sprites", "--stage", "apm", "--out", "nowhere"], "nowhere/clip/last.pt is missing: train the stage 'clip'"),
    ],
)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_impossible_training_is_refused_before_any_process_starts(
    argv: list[str], message: str, processes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--processes", processes]) == 2
    assert message in capsys.readouterr().err
