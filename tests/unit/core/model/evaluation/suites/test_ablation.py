"""The ablation suites at toy size: every variant is trained once, makes the same videos and is compared."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.model.evaluation.command import main
from core.model.evaluation.generation.videos import load_frames
from core.model.evaluation.metrics.measurements import Measured
from core.model.evaluation.reports.ablation_report import ComparedMetric, Comparison, Expectation
from core.model.evaluation.suites.ablation import METRICS, STUDIES
from core.model.training.ablation import CONDITIONINGS, Ablation, Budget, train_variants
from core.model.training.loop.checkpoints import CheckpointMismatch
from core.model.training.recipe import Recipe
from tests.helpers.figures import PERFECT


@pytest.fixture(scope="module")
def arguments(toy_work: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [
        *("--suite", "ablations", "--work", str(toy_work), "--smoke", "--train-steps", "1", "--threads", "1"),
        *("--prompts", "1", "--frames", "24", "--out", str(tmp_path_factory.mktemp("out"))),
    ]


@pytest.fixture(scope="module")
def folder(arguments: list[str]) -> Path:
    assert main(arguments) == 0
    return Path(arguments[-1]) / "ablations" / "1-steps-1-processes"


def test_every_variant_is_trained_and_compared(folder: Path) -> None:
    report = json.loads((folder / "ablations-24.json").read_text())
    assert set(report["rows"]) == {*(variant.name for variant in CONDITIONINGS), "true-clips"}
    assert {path.parent.name for path in (folder / "variants").glob("*/last.pt")} == {"concat", "add", "cam", "cam-apm"}
    assert (folder / "ablations-24.png").stat().st_size > 1000
    assert (folder / "cam-24.png").stat().st_size > 1000


def test_the_report_judges_every_expectation(folder: Path) -> None:
    text = (folder / "ablations-24.md").read_text()
    assert text.count("- CAM") + text.count("- channel") == len(STUDIES["ablations"].expectations)
    assert "LPIPS" in text


def test_all_variants_share_the_first_chunk_and_differ_after_it(folder: Path) -> None:
    videos = [load_frames(folder / f"{variant.name}-24" / "000.npz") for variant in CONDITIONINGS]
    assert all((video[:16] == videos[0][:16]).all() for video in videos)


def test_a_second_run_reuses_checkpoints_and_videos(arguments: list[str], folder: Path) -> None:
    files = [folder / "cam-24" / "000.npz", folder / "variants" / "cam" / "log.jsonl"]
    before = [file.stat().st_mtime_ns for file in files]
    assert main(arguments) == 0
    assert [file.stat().st_mtime_ns for file in files] == before


def test_variants_differ_only_in_conditioning_and_history_noise(
    toy_recipe: Recipe, toy_work: Path, tmp_path: Path
) -> None:
    ablation = Ablation(toy_recipe, toy_work, tmp_path, Budget(1, 1))
    tasks = [ablation.task(variant) for variant in (*CONDITIONINGS, *STUDIES["history-noise"].variants)]
    assert len({(task.seed, task.batch, task.scale, id(task.unet)) for task in tasks}) == 1
    assert [task.dropouts.history_noise for task in tasks[-2:]] == [0.0, 0.3]
    assert "mixers" not in tasks[3].modules
    assert "mixers" in tasks[4].modules


def test_a_variant_trained_on_another_base_is_refused(toy_recipe: Recipe, toy_work: Path, tmp_path: Path) -> None:
    variants, budget = CONDITIONINGS[2:3], Budget(1, 1)
    train_variants(toy_recipe, toy_work, tmp_path / "variants", budget, variants)
    other = shutil.copytree(toy_work, tmp_path / "other")
    base = torch.load(other / "video/last.pt", weights_only=True)
    torch.save(base | {"step": 3}, other / "video/last.pt")
    with pytest.raises(CheckpointMismatch, match="variants/add was trained on another base: remove it"):
        train_variants(toy_recipe, other, tmp_path / "variants", budget, variants)


def test_a_missing_stage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--suite", "ablations", "--work", str(tmp_path), "--smoke"]) == 2
    assert "train the stage" in capsys.readouterr().err


def test_a_missing_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--suite", "history-noise"]) == 2
    assert "--work" in capsys.readouterr().err


def comparison(better: list[Measured], worse: list[Measured]) -> Comparison:
    metric = ComparedMetric("objects", "right objects", lambda m: m.video.right_objects_at_end)
    return Comparison(
        title="two",
        labels={"a": "A", "b": "B"},
        measured={"a": better, "b": worse},
        metrics=[metric],
        expectations=[Expectation("a", "b", metric, "why")],
        notes=[],
    )


def scored(*values: float) -> list[Measured]:
    return [replace(PERFECT, video=replace(PERFECT.video, right_objects_at_end=value)) for value in values]


@pytest.mark.parametrize(
    ("better", "worse", "verdict"),
    [
        (scored(0.9, 0.8, 0.9), scored(0.1, 0.2, 0.1), ": confirmed."),
        (scored(0.1, 0.2, 0.1), scored(0.9, 0.8, 0.9), "the reverse is"),
        (scored(0.1, 0.9, 0.5), scored(0.9, 0.1, 0.5), "not clear"),
    ],
)
def test_an_expectation_is_judged_by_the_interval_of_the_gain(
    better: list[Measured], worse: list[Measured], verdict: str
) -> None:
    (finding,) = comparison(better, worse).findings()
    assert verdict in finding


def test_lower_is_better_for_metrics_that_say_so() -> None:
    cuts = next(metric for metric in METRICS if metric.short == "hard cuts")
    fewer, more = [replace(PERFECT, cuts=0)], [replace(PERFECT, cuts=2)]
    compared = replace(comparison(fewer, more), expectations=[Expectation("a", "b", cuts, "")])
    assert compared.gains(compared.expectations[0]) == [2.0]
