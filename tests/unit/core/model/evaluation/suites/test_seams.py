"""The suite `seams` with random weights: every clip is measured once, and the report says what streaming keeps."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.model.evaluation.command import main
from core.model.evaluation.generation.refinement_methods import METHODS
from core.model.evaluation.metrics.seam_figures import SeamFigures, seam_figures
from core.model.evaluation.reports.seams_report import PREVIEW, ROWS, TRUE, SeamsConfig, SeamsReport
from core.model.evaluation.suites import seams
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene
from tests.helpers.presets import change_preset
from tests.helpers.random_preset import write_random_preset


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_preset(tmp_path_factory.mktemp("presets") / "toy", num_inference_steps=1)


@pytest.fixture(scope="module")
def arguments(preset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    sizes = ["--prompts", "1", "--seeds", "2", "--frames", "25", "--threads", "1"]
    return ["--suite", "seams", "--preset", str(preset), *sizes, "--out", str(tmp_path_factory.mktemp("evaluation"))]


@pytest.fixture(scope="module")
def folder(arguments: list[str]) -> Path:
    assert main(arguments) == 0
    return Path(arguments[-1]) / "toy-seams-25"


def test_figures_a_table_and_two_pictures_are_written(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert list(report["rows"]) == [TRUE, PREVIEW, *METHODS]
    assert report["rows"][TRUE]["false_at_seams"]["value"] == 0
    assert "| streaming |" in (folder / "report.md").read_text()
    assert all((folder / name).stat().st_size > 1000 for name in ("report.png", "slices.png"))


def test_cached_figures_are_not_measured_again(arguments: list[str], folder: Path) -> None:
    files = [folder / f"000-{seed}.npz" for seed in (0, 1)]
    before = [file.stat().st_mtime_ns for file in files]
    (folder / "000-1.json").unlink()
    assert main(arguments) == 0
    first, second = (file.stat().st_mtime_ns for file in files)
    assert first == before[0]
    assert second > before[1]


def test_figures_of_another_version_are_measured_again(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = folder / "000-0.json"
    before = cached.stat().st_mtime_ns
    monkeypatch.setattr(seams, "MEASURE", seams.MEASURE + 1)
    assert main(arguments) == 0
    assert cached.stat().st_mtime_ns > before


def test_seeds_refine_the_same_clip_differently(folder: Path) -> None:
    first, second = (dict(np.load(folder / f"000-{seed}.npz")) for seed in (0, 1))
    assert all(np.array_equal(first[row], second[row]) for row in (TRUE, PREVIEW))
    assert not any(np.array_equal(first[row], second[row]) for row in METHODS)


def test_a_preset_without_refiner_is_refused(preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "preset.json").write_text((preset / "preset.json").read_text())
    change_preset(folder, refiner=None)
    assert main(["--suite", "seams", "--preset", str(folder)]) == 2
    assert "has no refiner of kind sdedit" in capsys.readouterr().err


def test_videos_without_seams_are_refused(preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--suite", "seams", "--preset", str(preset), "--frames", "24"]) == 2
    assert "--frames of 25 or more" in capsys.readouterr().err


def test_a_strength_that_is_too_low_is_refused_with_the_minimum(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["--suite", "seams", "--preset", str(preset), "--strength", "0.001", "--out", str(out)]) == 2
    assert "(give a strength of at least 0.002)" in capsys.readouterr().err
    assert not out.exists()


def test_a_true_clip_has_no_false_change() -> None:
    scene = sample_scene(np.random.default_rng(4), "held_out")
    true = render(scene, 40)
    figures = seam_figures(true, true)
    assert (figures.false_at_seams, figures.false_elsewhere) == (0, 0)


def test_the_report_has_the_share_of_the_gain_that_streaming_keeps() -> None:
    scores = dict(zip(ROWS, (1.0, 1.5, 8.0, 6.0, 3.0, 4.0), strict=True))
    clips = [{row: SeamFigures(lift + score, 0, score, 0) for row, score in scores.items()} for lift in (0.0, 1.0)]
    report = SeamsReport.of([clips[0], clips[1]], SeamsConfig(2, 1, 56), "test")
    assert report.kept["score"].value == pytest.approx(0.8)
    assert (report.gain["score"].value, report.gain["score"].low) == pytest.approx((5, 5))
    assert report.above_true["streaming"].value == pytest.approx(3)
    assert (report.rows["streaming"]["score"].low, report.rows["streaming"]["score"].high) == (4, 5)
    assert "| flow std: deviation of the flow over frames, pixels | 5 (5 to 5) | 0.8 (0.8 to 0.8) |" in report.table()


def test_a_share_of_no_gain_is_not_reported() -> None:
    even = {row: SeamFigures(2.0, 2.0, 2.0, 0) for row in ROWS}
    assert "| no clear gain of lockstep |" in SeamsReport.of([even, even], SeamsConfig(2, 1, 56), "test").table()
