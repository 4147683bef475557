"""The evaluation command on random weights: everything runs, a second run makes nothing anew, reports are there."""

import json
from pathlib import Path

import pytest

from core.model.evaluation.figures import VideoFigures
from core.model.evaluation.run import main
from core.model.evaluation.summary import FIRST_CHUNK, LONG_VIDEO, as_markdown, summarise, wilson
from core.model.presets.random import write_random_preset

PERFECT = VideoFigures(True, True, True, 1.0, 1.0, 1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("evaluation")
    preset = write_random_preset(folder / "toy", num_inference_steps=1)
    return ["--suite", "sprites", "--preset", str(preset), "--prompts", "2", "--threads", "1", "--out", str(folder)]


@pytest.fixture(scope="module")
def report(arguments: list[str]) -> Path:
    assert main(arguments) == 0
    return Path(arguments[-1]) / "toy-16"


def test_a_table_figures_and_a_picture_are_written(report: Path) -> None:
    rows = json.loads((report / "report.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [question.name for question in FIRST_CHUNK]
    assert "| colour right |" in (report / "report.md").read_text()
    assert (report / "sheet.png").stat().st_size > 1000


def test_finished_videos_are_not_made_again(arguments: list[str], report: Path) -> None:
    before = (report / "000.npz").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (report / "000.npz").stat().st_mtime_ns == before


def test_a_preset_that_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--suite", "sprites", "--preset", str(tmp_path)]) == 2
    assert "preset.json" in capsys.readouterr().err


def test_perfect_videos_meet_every_target() -> None:
    rows = summarise([PERFECT] * 50, (*FIRST_CHUNK, *LONG_VIDEO))
    assert all(row.is_met for row in rows)
    assert "missed" not in as_markdown(rows)


def test_a_missed_target_is_marked() -> None:
    wrong = VideoFigures(False, True, True, 1.0, 1.0, 1.0, 1.0, 1.4)
    rows = {row.name: row for row in summarise([wrong] * 50, (*FIRST_CHUNK, *LONG_VIDEO))}
    assert not rows["colour right"].is_met
    assert not rows["step across chunk borders over step inside"].is_met
    assert "(missed)" in as_markdown(list(rows.values()))


def test_shares_have_the_interval_of_wilson() -> None:
    low, high = wilson(0.9, 50)  # the textbook's example
    assert (low, high) == (pytest.approx(0.7864, abs=1e-4), pytest.approx(0.9565, abs=1e-4))
    assert wilson(1.0, 50)[1] == 1.0


def test_what_no_video_can_answer_is_left_out() -> None:
    still = VideoFigures(True, True, True, 1.0, 1.0, None, None, None)
    assert len(summarise([still], LONG_VIDEO)) == len(LONG_VIDEO) - 3
