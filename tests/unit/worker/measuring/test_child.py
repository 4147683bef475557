"""The process that measures, from its worker's side: its outcome, how it is watched, and that nothing of it is left."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from core.service.domain.errors import Interrupted, VideoUnmeasurable
from core.service.domain.schema import MeasuredVideo
from tests.helpers.deadline import eventually
from worker.measuring.child import MeasuringStalled, measure_in_process
from worker.measuring.request import MeasureRequest

READ = "import json, sys, pathlib, os, time\nasked = json.load(sys.stdin)\nfolder = pathlib.Path(asked['folder'])\n"
VIDEO = MeasuredVideo(num_frames=16, values={}, curves={}, notes=("a note",))


def request(tmp_path: Path) -> MeasureRequest:
    return MeasureRequest(folder=tmp_path, videos={"preview": tmp_path / "preview.mp4"}, fps=8.0, niceness=0)


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", READ + text)


def nothing() -> None: ...


def test_the_outcome_is_what_the_program_wrote(tmp_path: Path) -> None:
    outcome = '{"videos": {"preview": ' + VIDEO.model_dump_json() + "}}"
    command = program(f"(folder / 'result').write_text({outcome!r})")
    assert measure_in_process(request(tmp_path), nothing, command) == {"preview": VIDEO}


def test_a_file_that_is_no_video_is_told(tmp_path: Path) -> None:
    command = program("""(folder / 'result').write_text(json.dumps({'unreadable': 'it is no video'}))""")
    with pytest.raises(VideoUnmeasurable, match="it is no video"):
        measure_in_process(request(tmp_path), nothing, command)


def test_a_crash_is_an_error_of_this_attempt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError, match="exit status -9"):
        measure_in_process(request(tmp_path), nothing, program("os.kill(os.getpid(), 9)"))
    with pytest.raises(RuntimeError, match="exit status 1"):
        measure_in_process(request(tmp_path), nothing, program("raise ValueError('out of range')"))
    assert "out of range" in caplog.text


def test_a_process_without_progress_is_killed_and_one_that_gets_on_is_not(tmp_path: Path) -> None:
    progress = tmp_path / "progress"

    def begun() -> None:
        """How long the program needs to start is not what is looked at."""
        eventually(lambda: progress.exists() and bool(progress.read_text()), "the program to begin")

    command = program("(folder / 'progress').write_text('3'); time.sleep(600)")
    with pytest.raises(MeasuringStalled, match="after 3"):
        measure_in_process(request(tmp_path), begun, command, stalled_seconds=1.0)
    progress.unlink()
    steps = "[((folder / 'progress').write_text(str(n)), time.sleep(0.3)) for n in range(10)]"
    end = """(folder / 'result').write_text('{"videos": {}}')"""
    assert measure_in_process(request(tmp_path), begun, program(f"{steps}; {end}"), stalled_seconds=2.0) == {}


def test_the_process_ends_when_its_worker_stops_waiting(tmp_path: Path) -> None:
    command = program("(folder / 'pid').write_text(str(os.getpid())); time.sleep(600)")
    pid = tmp_path / "pid"

    def check() -> None:
        if pid.exists() and pid.read_text():
            raise Interrupted("the job was deleted")

    with pytest.raises(Interrupted):
        measure_in_process(request(tmp_path), check, command)
    assert not psutil.pid_exists(int(pid.read_text()))


def test_the_process_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", "secret")
    command = program("""(folder / 'result').write_text(json.dumps({'unreadable': repr(sorted(os.environ))}))""")
    with pytest.raises(VideoUnmeasurable) as told:
        measure_in_process(request(tmp_path), nothing, command)
    assert "LONGTAKE" not in str(told.value)
    assert "PATH" in str(told.value)
