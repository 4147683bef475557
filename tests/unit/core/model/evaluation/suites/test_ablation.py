"""The ablation suites at toy size: every trial is trained once, makes the same videos and is compared."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.model.evaluation.command import main
from core.model.evaluation.generation.videos import load_frames
from core.model.evaluation.suites.ablation import AblationRun
from core.model.evaluation.suites.ablation_studies import STUDIES
from core.model.training.ablation import CONDITIONINGS, LAST_FRAME, WHOLE_ENCODER, Ablation, Budget, Trial, trials_of
from core.model.training.loop.checkpoints import CheckpointMismatch, trained_parameters
from core.model.training.recipe import Recipe

VARIANTS = {variant.name: variant for variant in (*CONDITIONINGS, WHOLE_ENCODER)}
SEEDS = (3, 4)
"""The recipe's seed, and the next."""
FIRST_PART = ("none", "add", "cam")


@pytest.fixture(scope="module")
def arguments(toy_work: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [
        *("--suite", "ablations", "--work", str(toy_work), "--smoke", "--train-steps", "1", "--threads", "1"),
        *("--prompts", "1", "--frames", "24", "--seeds", "2", "--out", str(tmp_path_factory.mktemp("out"))),
    ]


@pytest.fixture(scope="module")
def folder(arguments: list[str]) -> Path:
    """After the first part of the work."""
    assert main([*arguments, "--variants", *FIRST_PART]) == 0
    return Path(arguments[-1]) / "ablations" / "1-steps-1-processes"


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "ablations-24.json").read_text())


def cut_verdicts(content: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Of the claims about hard cuts, which can be counted in any video."""
    cuts = [order for order in content["orders"] if order["metric"] == "hard cuts per video"]
    return {(order["better"], order["worse"]): order["verdict"] for order in cuts}


def test_a_part_of_the_work_is_reported_with_what_is_missing(folder: Path) -> None:
    content = report(folder)
    assert set(content["rows"]) == {*(variant.name for variant in CONDITIONINGS), "true-clips"}
    assert {name: row["seeds"] for name, row in content["rows"].items()} == {
        **{"none": 2, "add": 2, "cam": 2, "concat": 0, "cam-apm": 0},
        "true-clips": 1,
    }
    assert "channel concatenation, seed 4 (0 of 1 videos)" in content["missing"]
    assert len(content["missing"]) == 4
    verdicts = cut_verdicts(content)
    assert verdicts["concat", "add"] == "not measured"
    assert verdicts["cam", "add"] != "not measured"


def test_every_trial_has_its_own_folder(folder: Path) -> None:
    checkpoints = {path.parent.name for path in folder.glob("*/last.pt")}
    assert checkpoints == {f"{name}-seed-{seed}" for name in ("add", "cam") for seed in SEEDS}
    for name in (*checkpoints, "none"):
        assert (folder / name / "videos-24" / "000.npz").is_file()
        assert (folder / name / "videos-24.png").stat().st_size > 1000
    assert (folder / "ablations-24.png").stat().st_size > 1000


def test_trained_weights_and_losses_are_reported(folder: Path) -> None:
    rows = report(folder)["rows"]
    assert rows["none"]["trained_weights"] == 0
    assert rows["add"]["trained_weights"] > 1000
    assert rows["cam"]["last_loss"] > 0
    assert rows["none"]["last_loss"] is None


def test_all_trials_share_the_first_chunk(folder: Path) -> None:
    names = ["none", *(f"{name}-seed-{seed}" for name in ("add", "cam") for seed in SEEDS)]
    videos = [load_frames(folder / name / "videos-24" / "000.npz") for name in names]
    assert all((video[:16] == videos[0][:16]).all() for video in videos)


def test_the_other_part_continues_and_touches_nothing_that_is_finished(arguments: list[str], folder: Path) -> None:
    files = [path for path in folder.glob("*/**/*") if path.is_file()]
    before = [file.stat().st_mtime_ns for file in files]
    rest = [name for name in VARIANTS if name not in FIRST_PART]
    assert main([*arguments, "--seeds", "1", "--variants", "add", *rest]) == 0
    assert [file.stat().st_mtime_ns for file in files] == before
    content = report(folder)
    assert content["missing"] == []
    assert set(content["rows"]) == {*VARIANTS, "true-clips"}
    assert "not measured" not in cut_verdicts(content).values()
    weights = {name: row["trained_weights"] for name, row in content["rows"].items()}
    assert weights["none"] < weights["concat"] < weights["concat-encoder"] < weights["cam"] < weights["cam-apm"]


def test_a_report_needs_no_base(arguments: list[str], folder: Path, tmp_path: Path) -> None:
    budget = shutil.copytree(folder, tmp_path / "ablations" / folder.name, ignore=shutil.ignore_patterns("*.pt"))
    (budget / "cam-seed-4" / "figures-24.json").unlink()
    assert arguments[2] == "--work"
    without_work = arguments[:2] + arguments[4:]
    assert main([*without_work, "--report", "--out", str(tmp_path)]) == 0
    assert "CAM, seed 4 (1 of 1 videos)" in report(budget)["missing"]
    assert report(budget)["rows"]["cam"]["seeds"] == 1


def test_a_video_that_is_missing_is_made_again_without_training(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, figures = folder / "cam-seed-4" / "log.jsonl", folder / "cam-seed-4" / "figures-24.json"
    before, text = log.stat().st_mtime_ns, figures.read_text()
    figures.unlink()
    (folder / "cam-seed-4" / "videos-24" / "000.npz").unlink()
    capsys.readouterr()
    assert main([*arguments, "--variants", *FIRST_PART]) == 0
    assert "left: 0 trainings, 1 videos" in capsys.readouterr().err
    assert log.stat().st_mtime_ns == before
    assert figures.read_text() == text


def test_a_run_stopped_before_its_videos_continues_with_them(
    arguments: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = tmp_path / "ablations" / folder.name
    shutil.copytree(folder / "true-clips", budget / "true-clips")
    made = AblationRun._make  # pyright: ignore[reportPrivateUsage] - where the run is stopped

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    part = [*arguments, "--out", str(tmp_path), "--seeds", "1", "--variants", "add"]
    monkeypatch.setattr(AblationRun, "_make", stop)
    assert main(part) == 130
    trained = (budget / "add-seed-3" / "last.pt").stat().st_mtime_ns
    monkeypatch.setattr(AblationRun, "_make", made)
    assert main(part) == 0
    assert (budget / "add-seed-3" / "last.pt").stat().st_mtime_ns == trained
    assert report(budget)["rows"]["add"]["seeds"] == 1


def test_a_seed_changes_new_weights_and_samples_and_nothing_else(
    toy_recipe: Recipe, toy_work: Path, tmp_path: Path
) -> None:
    ablation = Ablation(toy_recipe, toy_work, tmp_path, Budget(1, 1))
    first, other, again = (ablation.task(Trial(VARIANTS["cam-apm"], seed)) for seed in (3, 4, 3))
    mixer = "mixers.0.conv.weight"
    weights = [task.memory.mixers.state_dict()[mixer] for task in (first, other, again)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    assert (first.seed, other.seed) == (3, 4)
    assert first.bank is other.bank
    assert first.unet is other.unet
    copied = [task.memory.cam.state_dict()["conv_in.weight"] for task in (first, other)]
    assert torch.equal(*copied)


def test_variants_differ_only_in_conditioning_and_history_noise(
    toy_recipe: Recipe, toy_work: Path, tmp_path: Path
) -> None:
    ablation = Ablation(toy_recipe, toy_work, tmp_path, Budget(1, 1))
    variants = [*CONDITIONINGS, *STUDIES["history-noise"].variants]
    tasks = [ablation.task(Trial(variant, 3)) for variant in variants]
    assert len({(task.seed, task.batch, task.scale, id(task.unet)) for task in tasks}) == 1
    assert [task.dropouts.history_noise for task in tasks[-2:]] == [0.0, 0.3]
    assert len({replace(task.dropouts, history_noise=0.0) for task in tasks}) == 1
    assert "mixers" not in tasks[3].modules
    assert "mixers" in tasks[4].modules
    assert trained_parameters(tasks[0].modules) == []


def test_trials_are_ordered_by_seed_so_that_a_stopped_run_can_compare() -> None:
    names = [trial.name for trial in trials_of(CONDITIONINGS[:3], SEEDS)]
    assert names == ["none", "concat-seed-3", "add-seed-3", "concat-seed-4", "add-seed-4"]


def test_the_whole_encoder_is_trained_on_request_only() -> None:
    study = STUDIES["ablations"]
    assert [variant.name for variant in study.chosen(None)] == ["none", "concat", "add", "cam", "cam-apm"]
    assert [variant.name for variant in study.chosen(["concat-encoder", "cam"])] == ["cam", "concat-encoder"]


def test_a_variant_with_other_windows_is_trained_on_request_and_not_compared(
    arguments: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its base and budget are those of the others, so no true clips are made and no report is written."""
    assert main([*arguments, "--variants", LAST_FRAME.name, "--seeds", "1", "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "last-frame image-to-video, seed 3 is trained; `longtake compare --trials" in captured.err
    assert captured.out == ""
    budget = tmp_path / "ablations" / folder.name
    assert [file.name for file in budget.iterdir()] == ["last-frame-seed-3"]
    assert {"last.pt", "trial.json"} <= {file.name for file in (budget / "last-frame-seed-3").iterdir()}
    before = (budget / "last-frame-seed-3" / "last.pt").stat().st_mtime_ns
    assert main([*arguments, "--variants", LAST_FRAME.name, "none", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert (budget / "last-frame-seed-3" / "last.pt").stat().st_mtime_ns == before
    content = report(budget)
    assert LAST_FRAME.name not in content["rows"]
    assert not any("last-frame" in missing for missing in content["missing"])


def test_a_clip_of_one_given_frame_is_trained_with_that_frame(
    toy_recipe: Recipe, toy_work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Ablation(toy_recipe, toy_work, tmp_path, Budget(1, 1)).task(Trial(LAST_FRAME, 3))
    lengths, pictured = list[int](), task.history_pictures

    def noting(latents_btchw: Tensor, generator: torch.Generator) -> Tensor:
        lengths.append(latents_btchw.shape[1])
        return pictured(latents_btchw, generator)

    monkeypatch.setattr(task, "history_pictures", noting)
    assert task.loss(0).isfinite()
    assert set(lengths) == {1}


def test_a_trial_on_another_base_is_refused(
    arguments: list[str], folder: Path, toy_recipe: Recipe, toy_work: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(toy_work, tmp_path / "other")
    base = torch.load(other / "video/last.pt", weights_only=True)
    torch.save(base | {"step": 3}, other / "video/last.pt")
    run = Ablation(toy_recipe, other, folder, Budget(1, 1))
    with pytest.raises(CheckpointMismatch, match="add-seed-4 was trained on another base: remove it"):
        run.check_record(Trial(VARIANTS["add"], 4))
    assert main([*arguments, "--work", str(other), "--variants", "none"]) == 2


def test_a_trial_of_another_variant_of_the_same_name_is_refused(
    folder: Path, toy_recipe: Recipe, toy_work: Path, tmp_path: Path
) -> None:
    """As when a later version trains it in another way."""
    shutil.copytree(folder / "add-seed-4", tmp_path / "add-seed-4")
    run, trial = Ablation(toy_recipe, toy_work, tmp_path, Budget(1, 1)), Trial(VARIANTS["add"], 4)
    run.check_record(trial)
    with pytest.raises(CheckpointMismatch, match="add-seed-4 was trained in another way: remove it"):
        run.check_record(replace(trial, variant=replace(trial.variant, generated_past=0.0)))


def test_a_missing_stage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--suite", "ablations", "--work", str(tmp_path), "--smoke", "--out", str(tmp_path / "out")]) == 2
    assert "train the stage" in capsys.readouterr().err


def test_a_missing_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--suite", "history-noise"]) == 2
    assert "--work" in capsys.readouterr().err


def test_an_unknown_variant_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--suite", "history-noise", "--work", str(tmp_path), "--variants", "concat"]) == 2
    assert "--variants concat: --suite history-noise has noise-0, cam-apm" in capsys.readouterr().err
