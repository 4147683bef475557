"""The Makefile finds a suitable Python, prints one sentence if there is none, and passes variables on unchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MAKE = shutil.which("make")

pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def make(tmp_path: Path, *arguments: str, path: str, copy: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the Makefile in a folder of its own; `path` is all the programs it can find. Files are copied with their
    times: make compares them with the stamp's."""
    if copy:
        shutil.copy(REPOSITORY / "Makefile", tmp_path)
        shutil.copy2(REPOSITORY / "pyproject.toml", tmp_path)
        shutil.copytree(REPOSITORY / "setup", tmp_path / "setup", dirs_exist_ok=True)
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
    assert result.stderr.splitlines()[0].startswith("Longtake needs Python 3.11 or newer; none was found")
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_was_named_and_does_not_fit_is_named(tmp_path: Path) -> None:
    """Another one in its place would be a surprise."""
    fake_program(tmp_path / "bin", "python3", "exit 0")
    fake_program(tmp_path / "bin", "mine", "exit 1")
    result = make(tmp_path, "setup", "PYTHON=mine", path=str(tmp_path / "bin"))
    assert result.stderr.splitlines()[0] == "Longtake needs Python 3.11 or newer; mine is none."


# Fits, says so, and then ends before it would build anything.
BUILDS = 'case "$1" in -c) exit 0;; *) echo "$0 builds: $*"; exit 3;; esac'


@pytest.mark.parametrize("newest", ["python3.14", "python3.13", "python3.11", "python3"])
def test_a_python_that_does_not_run_is_passed_over(newest: str, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    for name in ("python3.14", "python3.13", "python3.12", "python3.11", "python3"):
        fake_program(programs, name, "exit 127")
    fake_program(programs, newest, BUILDS)
    result = make(tmp_path, "setup", path=str(programs))
    assert f"{newest} builds: -m setup.environment" in result.stdout
    assert not (tmp_path / ".venv" / ".ready").exists()


def test_a_python_with_a_venv_module_goes_before_a_newer_one_without(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    fake_program(programs, "python3.13", BUILDS.replace("exit 0", 'case "$2" in *ensurepip*) exit 1;; esac'))
    fake_program(programs, "python3.12", BUILDS)
    assert "python3.12 builds" in make(tmp_path, "setup", path=str(programs)).stdout
    (programs / "python3.12").unlink()
    assert "python3.13 builds" in make(tmp_path, "setup", path=str(programs)).stdout  # which then says what is missing


def test_setup_runs_again_only_when_pyproject_or_the_set_up_itself_changed(tmp_path: Path) -> None:
    fake_program(tmp_path / "bin", "mine", 'case "$1" in -c) exit 0;; *) mkdir -p .venv; echo builds;; esac')
    path, chosen = f"{tmp_path / 'bin'}:/usr/bin:/bin", "PYTHON=mine"

    assert "builds" in make(tmp_path, "setup", chosen, path=path).stdout
    assert "builds" not in make(tmp_path, "setup", chosen, path=path, copy=False).stdout
    for file in ("pyproject.toml", "setup/machine.py"):
        later = (tmp_path / ".venv" / ".ready").stat().st_mtime + 10
        os.utime(tmp_path / file, (later, later))
        assert "builds" in make(tmp_path, "setup", chosen, path=path, copy=False).stdout
        os.utime(tmp_path / file, (later - 100, later - 100))


@pytest.mark.parametrize(
    ("asked", "runs"), [((), False), (("CI=true",), True), (("FRESH_MACHINE=1",), True), (("CI=false",), False)]
)
def test_the_fresh_machine_is_the_last_test_in_ci_and_where_it_is_asked_for(
    asked: tuple[str, ...], runs: bool, tmp_path: Path
) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".ready").touch()
    commands = make(tmp_path, "--dry-run", "test", *asked, path="/usr/bin:/bin").stdout.splitlines()
    assert commands[-1].startswith('echo "== all passed')
    assert commands[-2].endswith("-m tests.fresh_machine" if runs else "tests/integration")


def test_setup_run_by_an_older_python_says_so() -> None:
    source = (REPOSITORY / "setup" / "environment.py").read_text()
    before = source[: source.index("import platform")].replace("sys.version_info < (3, 11)", "True")
    result = subprocess.run([sys.executable, "-c", before], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("Longtake needs Python 3.11 or newer; ")


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


def test_the_demo_is_given_what_is_named_and_nothing_else(tmp_path: Path) -> None:
    binaries = tmp_path / ".venv" / "bin"
    binaries.parent.mkdir()
    fake_program(binaries, "longtake", 'for word in "$@"; do echo "<$word>"; done')
    (binaries.parent / ".ready").touch()
    named = ["MODEL=sprites-zero", "CONTROL=canny", "VIDEO=my clip.mp4"]
    result = make(tmp_path, "demo", *named, path="/usr/bin:/bin")
    words = ["demo", "--model", "sprites-zero", "--seed", "4", "--control", "canny", "--video"]
    assert result.stdout.splitlines() == [f"<{word}>" for word in (*words, "my clip.mp4")]


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
