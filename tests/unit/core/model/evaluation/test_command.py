"""The evaluation command with random weights: it runs, a second run reuses the videos, and reports are written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.model.evaluation.command import build_parser, main
from core.model.evaluation.generation.sprites_requests import suite_scenes
from core.model.evaluation.reports.summary import FIRST_CHUNK, LONG_VIDEO, SEAMS
from core.model.training.sprites import world
from tests.helpers.random_preset import write_random_preset


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("evaluation")
    preset = write_random_preset(folder / "toy", num_inference_steps=1)
    return [
        *("--suite", "sprites", "--preset", str(preset), "--prompts", "2", "--frames", "32", "--threads", "1"),
        *("--out", str(folder)),
    ]


@pytest.fixture(scope="module")
def report(arguments: list[str]) -> Path:
    assert main(arguments) == 0
    return Path(arguments[-1]) / "toy-32"


def test_evaluation_does_not_need_tensorboard() -> None:
    script = "import sys; sys.modules['tensorboard'] = None; from core.model.evaluation.command import main"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_documentation_names_every_option() -> None:
    docs = Path(__file__).resolve().parents[5] / "docs"
    text = "".join((docs / page).read_text() for page in ("evaluation-suites.md", "refinement.md"))
    options = set(re.findall(r"--[a-z-]+", build_parser().format_help())) - {"--help", "--smoke"}
    assert {option for option in options if option not in text} == set()


def test_table_figures_chart_and_sheet_are_written(report: Path) -> None:
    content = json.loads((report / "report.json").read_text())
    names = {row["name"] for row in content["rows"]}
    assert {"colour right", "background kept (correlation)", "weights, MB"} <= names
    assert names - {metric.name for metric in (*FIRST_CHUNK, *LONG_VIDEO, *SEAMS)} == {
        name for name in names if "frames per second" in name or "faster" in name or "weights" in name
    }
    assert "| colour right |" in (report / "report.md").read_text()
    assert (report / "sheet.png").stat().st_size > 1000
    assert (report / "report.png").stat().st_size > 1000


def test_upper_bounds_of_the_autoencoder_are_reported(report: Path) -> None:
    bounds = json.loads((report / "report.json").read_text())["autoencoder_only"]
    assert {"colour right", "background kept (correlation)"} <= set(bounds)


def test_figures_not_measured_are_noted(report: Path) -> None:
    assert "clip_heads.safetensors" in (report / "report.md").read_text()


def test_two_processes_reuse_the_videos_of_one_and_measure_the_same(arguments: list[str], report: Path) -> None:
    video, figures = report / "000.npz", report / "000.json"
    before = (video.stat().st_mtime_ns, figures.read_text())
    assert main([*arguments, "--processes", "2", "--no-speed"]) == 0
    assert (video.stat().st_mtime_ns, figures.read_text()) == before


def test_a_video_of_another_request_is_made_again(arguments: list[str], report: Path) -> None:
    figures = report / "001.json"
    figures.write_text(json.dumps({"facts": {"spec": "another"}}))
    before = (report / "001.npz").stat().st_mtime_ns
    assert main([*arguments, "--no-speed"]) == 0
    assert (report / "001.npz").stat().st_mtime_ns != before


def test_an_unreadable_preset_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--suite", "sprites", "--preset", str(tmp_path)]) == 2
    assert "preset.json" in capsys.readouterr().err


def test_a_preset_of_another_world_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = write_random_preset(tmp_path / "large", size=128)
    assert main(["--suite", "sprites", "--preset", str(preset)]) == 2
    assert "64x64" in capsys.readouterr().err


def test_no_prompts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--suite", "sprites", "--prompts", "0"])
    assert "must be an integer of at least 1" in capsys.readouterr().err


def test_every_scene_of_the_suite_is_held_out_and_some_show_two_objects() -> None:
    scenes = suite_scenes(50)
    assert all(any(world.is_held_out(sprite, scene.background) for sprite in scene.sprites) for scene in scenes)
    assert sum(len(scene.sprites) == 2 for scene in scenes) >= 10
