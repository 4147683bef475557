"""The Makefile finds a Python that fits, says one sentence where there is none, and passes variables on unharmed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MAKE = shutil.which("make")

pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def make(tmp_path: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    """Run the Makefile in a folder of its own; `path` is all the programs it can find."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    shutil.copy2(REPOSITORY / "pyproject.toml", tmp_path)  # with its time: make compares it with the stamp's
    command = [str(MAKE), *arguments]
    return subprocess.run(command, cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True, check=False)


def fake_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_without_a_python_that_fits_one_sentence_says_so(tmp_path: Path) -> None:
    fake_program(tmp_path / "bin", "python3", "exit 1  # too old, or a shim without a version")
    result = make(tmp_path, "setup", path=str(tmp_path / "bin"))
    assert result.returncode != 0
    assert result.stderr.splitlines()[0].startswith("Longtake needs Python 3.11 or newer")
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    fake_program(programs, "python3.13", "exit 127")
    # Fits, says so, and then ends before it would build anything.
    fake_program(programs, "python3.12", 'case "$1" in -c) exit 0;; *) echo "builds: $*"; exit 3;; esac')
    result = make(tmp_path, "setup", path=str(programs))
    assert "building .venv with python3.12" in result.stdout
    assert "builds: -m venv .venv" in result.stdout


def test_the_prompt_reaches_the_demo_with_its_quotes(tmp_path: Path) -> None:
    """Nothing in a prompt is a command: it goes by the environment, not through the shell's grammar."""
    binaries = tmp_path / ".venv" / "bin"
    binaries.parent.mkdir()
    fake_program(binaries, "longtake", 'for word in "$@"; do echo "<$word>"; done')
    (binaries.parent / ".ready").touch()
    prompt = 'it\'s "a" $(touch pwned) `circle`'
    result = make(tmp_path, "demo", f"PROMPT={prompt.replace('$', '$$')}", "FRAMES=17", path="/usr/bin:/bin")
    assert f"<{prompt}>" in result.stdout.splitlines(), result.stderr
    assert "<17>" in result.stdout
    assert not (tmp_path / "pwned").exists()


def test_the_folder_of_golden_numbers_reaches_the_runner_with_its_spaces(tmp_path: Path) -> None:
    binaries = tmp_path / ".venv" / "bin"
    binaries.parent.mkdir()
    fake_program(binaries, "python", 'for word in "$@"; do echo "<$word>"; done')
    (binaries.parent / ".ready").touch()

    chosen = make(tmp_path, "golden", "GOLDEN=my numbers", path="/usr/bin:/bin")
    default = make(tmp_path, "golden", path="/usr/bin:/bin")

    assert chosen.stdout.splitlines()[-1] == "<my numbers>"
    assert default.stdout.splitlines()[-1] == "<tests/references>"


def test_options_reach_the_chaos_run_and_ten_minutes_are_the_default(tmp_path: Path) -> None:
    binaries = tmp_path / ".venv" / "bin"
    binaries.parent.mkdir()
    fake_program(binaries, "python", 'echo "runs: $*"')
    (binaries.parent / ".ready").touch()

    chosen = make(tmp_path, "chaos", "CHAOS=--seconds 120 --seed 7", path="/usr/bin:/bin")
    default = make(tmp_path, "chaos", path="/usr/bin:/bin")

    assert "runs: -m tests.chaos --seconds 120 --seed 7" in chosen.stdout
    assert "runs: -m tests.chaos --seconds 600" in default.stdout
