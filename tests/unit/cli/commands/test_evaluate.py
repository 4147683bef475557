"""`longtake evaluate`: files, folders and jobs, what is wrong with them, and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.main import main, parse_args
from core.folder_lock import alone_in
from core.metrics.evaluation.run import Video, look_at_all
from tests.helpers.deadline import eventually
from tests.helpers.evaluated import pan, still
from tests.unit.cli.commands.conftest import Api

SMALL = ("--size", "64")
REFINE = {
    **{"strength": 0.6, "num_inference_steps": 30, "guidance_scale": 7.5},
    **{"height": 128, "width": 128, "schedule": "streaming"},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of each test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*words: str, out: str = "out") -> int:
    return main(["evaluate", *words, *SMALL, "--out", out])


def results(out: str = "out") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(out) / "results.json").read_text())
    return content


def kinds(out: str = "out") -> list[tuple[str, str, bool]]:
    return [(each["input"], each["kind"], each["is_skipped"]) for each in results(out)["problems"]]


def test_a_folder_becomes_three_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pan(folder / "clips" / "a.mp4", 8)
    pan(folder / "clips" / "b.mp4", 8, speed=4)
    assert evaluate("clips") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-3:] == ["out/report.html", "out/results.md", "out/results.json"]
    assert "| OFS, dis " in printed
    assert [video["name"] for video in results()["videos"]] == ["a.mp4", "b.mp4"]
    options = results()["options"]
    assert (options.pop("size"), options.pop("flow")) == (64, "dis")
    assert set(options) == {"opencv", "scenedetect"}
    assert "OFS" in (folder / "out" / "results.md").read_text()
    assert "<h1>Evaluation</h1>" in (folder / "out" / "report.html").read_text()


def test_what_cannot_be_measured_is_skipped_said_and_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pan(folder / "a.mp4", 8)
    pan(folder / "long.mp4", 12, seed=1, times=[0, 1, 2, 5, 6, 9, 10, 11, 12, 13, 14, 15])
    pan(folder / "one.mp4", 1)
    (folder / "copy.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (folder / "broken\x1b[31m.mp4").write_bytes(b"nothing")
    (folder / "empty").mkdir()
    names = ("a.mp4", "long.mp4", "one.mp4", "copy.mp4", "broken\x1b[31m.mp4", "gone.mp4", "empty", "./a.mp4")
    assert evaluate(*names) == 1
    assert kinds() == [
        ("gone.mp4", "missing", True),
        ("empty", "no_video", True),
        ("a.mp4", "duplicate", True),
        ("one.mp4", "one_frame", True),
        ("broken\x1b[31m.mp4", "unreadable", True),
        ("copy.mp4", "duplicate", True),
        ("long.mp4", "variable_frame_rate", False),
        ("all videos", "unequal", False),
        ("all videos", "unequal", False),
    ]
    told = capsys.readouterr().err
    assert "skipped: one.mp4: it has one frame only" in told
    assert "note: all videos: lengths differ" in told
    assert "\x1b" not in told


def test_strict_refuses_before_anything_is_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pan(folder / "a.mp4", 8)
    pan(folder / "b.mp4", 9)
    assert evaluate("a.mp4", "b.mp4", "--strict") == 2
    assert "lengths differ" in capsys.readouterr().err
    assert not (folder / "out" / "report.html").exists()
    assert not [file for file in (folder / "out" / "measured").iterdir() if file.suffix == ".jpg"]
    assert evaluate("a.mp4", "--strict") == 0


def test_nothing_to_measure_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    assert evaluate("empty") == 2
    assert "there is no video that can be measured" in capsys.readouterr().err
    assert not (folder / "out" / "results.json").exists()


def test_a_folder_that_cannot_be_written_to_is_refused_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "taken").touch()
    assert evaluate(str(pan(folder / "a.mp4", 8)), out="taken") == 2
    assert "--out: the folder taken cannot be written to" in capsys.readouterr().err


def test_a_file_where_a_folder_should_be_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "measured").touch()
    assert evaluate(str(pan(folder / "a.mp4", 8))) == 1
    assert capsys.readouterr().err.endswith("longtake: out/measured: File exists\n")


def test_one_run_at_a_time_uses_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with alone_in(folder / "out") as is_alone:
        assert is_alone
        assert evaluate(str(pan(folder / "a.mp4", 8))) == 2
    assert "another `longtake evaluate` is at work in out" in capsys.readouterr().err
    assert evaluate("a.mp4") == 0


def test_a_long_still_video_has_a_report(folder: Path) -> None:
    """Means of so many equal values differ by their rounding."""
    still(folder / "still.mkv", 2600)
    assert evaluate("still.mkv", "--size", "16") == 0
    assert "<h1>Evaluation</h1>" in (folder / "out" / "report.html").read_text()


def test_an_abbreviated_option_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate(str(pan(folder / "a.mp4", 8)), "--suit", "sprites")
    assert "unrecognized arguments: --suit sprites" in capsys.readouterr().err


def test_a_prompt_may_name_a_file_with_a_dot_in_its_name(folder: Path) -> None:
    pan(folder / "v1.0.mp4", 8)
    (folder / "p.json").write_text('{"v1.0": "a red circle"}')
    assert evaluate("v1.0.mp4", "--prompts", "p.json") == 0
    assert results()["videos"][0]["prompt"] == "a red circle"


def test_names_of_files_drive_no_terminal(folder: Path) -> None:
    pan(folder / "esc\x1b[31m.mp4", 8)
    assert evaluate("esc\x1b[31m.mp4") == 0
    assert "\x1b" not in (folder / "out" / "results.md").read_text()


def test_a_large_video_in_the_report_s_folder_may_have_any_name(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    pan(folder / "out" / "videos" / name, 8)
    assert evaluate(f"out/videos/{name}", "--embed", "0") == 0
    assert 'src="videos/caf%E9.mp4"' in (folder / "out" / "report.html").read_text()


def test_prompts_come_from_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pan(folder / "a.mp4", 8)
    pan(folder / "b.mp4", 8, seed=1)
    (folder / "p.json").write_text('{"a.mp4": "a red circle", "c.mp4": "nobody"}')
    assert evaluate("a.mp4", "b.mp4", "--prompts", "p.json") == 0
    assert [video["prompt"] for video in results()["videos"]] == ["a red circle", None]
    assert kinds() == [("c.mp4", "unused_prompt", False), ("b.mp4", "no_prompt", False)]
    assert evaluate("a.mp4", "--prompts", "gone.txt") == 2
    assert "--prompts: gone.txt cannot be read" in capsys.readouterr().err


def test_a_file_that_is_missing_keeps_its_line_of_prompts(folder: Path) -> None:
    pan(folder / "a.mp4", 8)
    pan(folder / "c.mp4", 8, seed=1)
    (folder / "p.txt").write_text("of a\nof b\nof c\n")
    assert evaluate("a.mp4", "b.mp4", "c.mp4", "--prompts", "p.txt") == 1
    assert [(video["name"], video["prompt"]) for video in results()["videos"]] == [("a.mp4", "of a"), ("c.mp4", "of c")]
    assert kinds() == [("b.mp4", "missing", True)]
    (folder / "p.json").write_text('{"a": "of a", "b": "of b", "c": "of c"}')
    assert evaluate("a.mp4", "b.mp4", "c.mp4", "--prompts", "p.json") == 1
    assert kinds() == [("b.mp4", "missing", True)]


def test_what_is_left_out_of_a_folder_is_said_and_not_refused(folder: Path) -> None:
    pan(folder / "clips" / "a.mp4", 8)
    (folder / "clips" / "notes.txt").touch()
    assert evaluate("clips", "--strict") == 0
    assert kinds() == [("clips", "left_out", False)]


def test_a_video_that_fails_is_skipped_and_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It vanishes after it was looked at."""

    def and_vanishes(*given: Any) -> Any:
        found = look_at_all(*given)
        (folder / "b.mp4").unlink()
        return found

    monkeypatch.setattr("core.metrics.evaluation.run.look_at_all", and_vanishes)
    pan(folder / "a.mp4", 8)
    pan(folder / "b.mp4", 8, seed=1)
    assert evaluate("a.mp4", "b.mp4") == 1
    assert kinds() == [("b.mp4", "unreadable", True)]
    assert "skipped: b.mp4: it cannot be read: No such file or directory" in capsys.readouterr().err
    pan(folder / "b.mp4", 8, seed=1)
    assert evaluate("b.mp4", out="other") == 2
    assert "no video could be measured" in capsys.readouterr().err


def test_what_cannot_be_looked_up_ends_nothing(folder: Path) -> None:
    pan(folder / "a.mp4", 8)
    os.mkfifo(folder / "pipe.mp4")
    assert evaluate("a.mp4", "x" * 300 + ".mp4", "pipe.mp4", "/dev/zero") == 1
    assert [kind for _, kind, _ in kinds()] == ["unreadable"] * 3


def test_a_tower_that_is_not_there_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(str(pan(folder / "a.mp4", 8)), "--tower", "nowhere") == 2
    told = capsys.readouterr().err
    assert "--tower: there is no folder nowhere, and no preset of this name (presets: " in told
    assert " sprites" in told


@pytest.mark.parametrize(
    "words",
    [[], ["a.mp4", "--embed", "-1"], ["a.mp4", "--size", "0"], ["a.mp4", "--processes", "0"], ["a.mp4", "--flow", "x"]],
)
def test_arguments_that_cannot_be_used_end_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_args(["evaluate", *words])
    assert ended.value.code == 2


def test_a_suite_gets_its_arguments_as_they_are() -> None:
    suite = parse_args(["evaluate", "--suite", "sprites", "--prompts", "3", "--help"])
    assert suite.rest == ["--suite", "sprites", "--prompts", "3", "--help"]
    assert suite.accepts_unknown
    assert parse_args(["evaluate", "--suite=seams"]).rest == ["--suite=seams"]
    assert not parse_args(["evaluate", "a.mp4"]).accepts_unknown


def model(name: str, windows: dict[str, int] | None) -> dict[str, Any]:
    """As GET /models has it."""
    shown = {"name": name, "description": "", "installed": True, "width": 64, "height": 64, "example_prompts": []}
    return {**shown, "capabilities": {"fields": [], "windows": windows}}


@pytest.mark.parametrize("windows", [{"first": 25, "later": 24}, None])
def test_seams_of_a_job_are_where_the_windows_of_its_model_begin(
    api: Api, folder: Path, windows: dict[str, int] | None
) -> None:
    api.job["status"] = "succeeded"
    api.answers["GET", "/jobs/job_x/video.mp4"] = pan(folder / "made.mp4", 52).read_bytes()
    models = [model("other", {"first": 16, "later": 8}), model(api.job["request"]["model"], windows)]
    api.answers["GET", "/models"] = {"models": models, "default_model": "other"}
    assert evaluate("job_x") == 0
    [video] = results()["videos"]
    told = "borders every 24 frames from 25 on" if windows else "where windows begin is not known"
    assert any(told in note for note in video["measured"]["notes"]), video["measured"]["notes"]


def test_seams_of_files_are_where_they_are_said_to_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pan(folder / "a.mp4", 40)
    for words, told in (("16,8", "every 8 frames from 16 on"), ("20", "every 20 frames from 20 on")):
        assert evaluate("a.mp4", "--windows", words) == 0
        assert any(told in note for note in results()["videos"][0]["measured"]["notes"])
    with pytest.raises(SystemExit):
        evaluate("a.mp4", "--windows", "16,0")
    assert "must be a number of frames from 1, or two such as 16,8, not '16,0'" in capsys.readouterr().err


def test_a_job_is_saved_and_measured_with_its_prompt(api: Api, folder: Path) -> None:
    api.job["status"] = "succeeded"
    windows = {"first": 16, "later": 8}
    api.answers["GET", "/models"] = {"models": [model(api.job["request"]["model"], windows)], "default_model": "x"}
    api.answers["GET", "/jobs/job_x/video.mp4"] = pan(folder / "made.mp4", 48).read_bytes()
    assert evaluate("job_x") == 0
    [video] = results()["videos"]
    assert (video["name"], video["job_id"], video["variant"], video["prompt"]) == (
        *("job_x", "job_x"),
        *("preview", "a red circle"),
    )
    assert video["measured"]["values"]["seam_score"] is not None
    assert (folder / "out" / "videos" / "job_x.mp4").is_file()


def test_of_a_refined_job_the_refined_video_is_measured(api: Api, folder: Path) -> None:
    api.job["status"] = "succeeded"
    api.job["request"]["refine"] = REFINE
    api.answers["GET", "/jobs/job_x/video.mp4"] = pan(folder / "made.mp4", 20).read_bytes()
    assert evaluate("job_x", "--embed", "0") == 0
    assert api.asked[-1][1] == "/jobs/job_x/video.mp4?variant=refined"
    assert 'src="videos/job_x_refined.mp4"' in (folder / "out" / "report.html").read_text()
    assert evaluate("job_x", "--variant", "preview") == 0
    assert api.asked[-1][1] == "/jobs/job_x/video.mp4?variant=preview"
    assert results()["videos"][0]["variant"] == "preview"


def test_a_service_that_is_not_there_is_said_with_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("nonsense", "--url", "http://127.0.0.1:1") == 1
    assert "nonsense is no file here, so it is taken for a job" in capsys.readouterr().err


def test_ctrl_c_says_where_it_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(videos: Sequence[Video], *_: object) -> None:
        del videos
        raise KeyboardInterrupt

    monkeypatch.setattr("core.metrics.evaluation.run.measure_all", interrupted)
    pan(folder / "a.mp4", 8)
    assert evaluate("a.mp4") == 130
    assert "what is finished is in out/measured, and the same command goes on from there" in capsys.readouterr().err


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_was_stopped_goes_on(folder: Path, processes: int) -> None:
    """Real processes: Ctrl-C while the second long video is measured; then the same command."""
    for number in range(4):
        pan(folder / "clips" / f"{number}.mp4", 160, seed=number)
    words = ["evaluate", "clips", "--out", "out", "--size", "192", "--processes", str(processes)]
    run = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
    )
    measured = folder / "out" / "measured"

    def finished() -> dict[str, int]:
        return {each.name: each.stat().st_mtime_ns for each in measured.glob("*.json") if ".file" not in each.name}

    eventually(lambda: finished() or None, "the first video to be measured", seconds=120)
    os.killpg(run.pid, signal.SIGINT)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 130, told
    assert "the same command goes on from there" in told
    assert "Traceback" not in told
    before = finished()
    assert 1 <= len(before) < 4
    assert not (folder / "out" / "report.html").exists()

    assert main(words) == 0
    after = finished()
    assert len(after) == 4
    assert {name: after[name] for name in before} == before
    assert len(results()["videos"]) == 4
