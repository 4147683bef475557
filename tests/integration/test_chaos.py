"""A minute of chaos with a fixed seed, as `make chaos` runs it: no rule is broken, and no process is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.chaos.schedule import make_plan
from tests.helpers.deadline import eventually

SECONDS, JOBS, SEED = 60, 30, 4759
COMMAND = [sys.executable, "-m", "tests.chaos", "--seed", str(SEED), "--jobs", str(JOBS)]
HARSHEST = {
    *("worker killed", "worker killed while it stores", "API killed", "S3 killed", "Redis wiped", "state damaged"),
    "chunk removed",
}


def test_the_fixed_seed_throws_the_harshest_faults() -> None:
    """Where the list of faults has changed, choose another seed."""
    assert {planned.fault.name for planned in make_plan(SEED, SECONDS, JOBS).faults} >= HARSHEST


@pytest.mark.timeout(400)
def test_a_minute_of_chaos_breaks_no_rule(tmp_path: Path, repository: Path) -> None:
    out = tmp_path / "chaos.json"
    ended = subprocess.run(
        [*COMMAND, "--seconds", str(SECONDS), "--settle", "40", "--out", str(out)],
        cwd=repository,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    content = json.loads(out.read_text())
    assert content["violations"] == []
    assert content["run"]["seed"] == SEED
    assert sum(row["thrown"] for row in content["faults"]) >= 10
    assert content["jobs"]["accepted"] >= JOBS / 2


def test_an_interrupted_run_leaves_no_process_behind(tmp_path: Path, repository: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    output = tmp_path / "output.txt"
    with output.open("w") as sink:
        run = subprocess.Popen(
            [*COMMAND, "--seconds", "300"], cwd=repository, env=environment, stdout=sink, stderr=sink
        )
    try:
        eventually(lambda: "0 s  faults" in output.read_text(), "the chaos to begin", seconds=120)
        assert len(list(processes_of(tmp_path))) > 8
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
        assert list(processes_of(tmp_path)) == []
    finally:
        for process in processes_of(tmp_path):
            process.kill()
        run.wait()


def processes_of(folder: Path) -> Iterator[psutil.Process]:
    """What runs with this folder for temporary files: the harness and all that it started."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:
            continue  # ended meanwhile, or not ours to look at
