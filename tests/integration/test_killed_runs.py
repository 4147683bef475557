"""Training runs whose first process is killed: the other processes end, too, before the next run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.helpers.deadline import eventually

TRAINS = """
import runpy, sys
from functools import partial
from core.model.training.loop.parallel import launch
if __name__ == "__main__":
    launch(partial(runpy.run_path, sys.argv[1]), 2)
"""
EVALUATES = """
import runpy, sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from core.model.evaluation.generation.videos import evaluate_all
if __name__ == "__main__":
    requests = [SimpleNamespace(stem=Path(sys.argv[1]).with_name(name)) for name in ("a", "b")]
    evaluate_all(partial(runpy.run_path, sys.argv[1]), requests, print, 2)
"""
WORKS = "import os, pathlib, time; (pathlib.Path(__file__).parent / f'{os.getpid()}.pid').touch(); time.sleep(120)"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a process with its parent")
@pytest.mark.parametrize("program", [TRAINS, EVALUATES], ids=["training", "evaluation"])
def test_processes_end_with_the_run_that_was_killed(tmp_path: Path, program: str) -> None:
    (tmp_path / "launches.py").write_text(program)
    (tmp_path / "works.py").write_text(WORKS)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "launches.py"), str(tmp_path / "works.py")])
    try:
        eventually(lambda: len(list(tmp_path.glob("*.pid"))) == 2, "both processes to work", seconds=120)
    finally:
        parent.kill()
        parent.wait()

    children = [int(file.stem) for file in tmp_path.glob("*.pid")]
    eventually(lambda: not any(map(psutil.pid_exists, children)), "both to end")
