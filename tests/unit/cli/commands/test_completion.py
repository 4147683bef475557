"""`longtake completion`: shells complete commands, options and values."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "longtake" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("longtake can", "cancel"),
        ("longtake deliv", "delivery"),
        ("longtake keys re", "revoke"),
        ("longtake submit --fra", "--frames"),
    ],
)
def test_words_are_completed(tmp_path: Path, line: str, word: str) -> None:
    answers = tmp_path / "answers"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answers),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run([sys.executable, "-m", "cli.main"], env={**os.environ, **asked}, check=False, capture_output=True)
    assert word in answers.read_text()
