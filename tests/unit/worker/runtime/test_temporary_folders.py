"""Folders of killed processes in TMPDIR are removed at the next start; those of others stay."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from worker.runtime.temporary_folders import remove_left_behind, temporary_folder


@pytest.fixture
def tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_the_folder_of_a_killed_process_goes_and_those_of_others_stay(tmpdir: Path) -> None:
    script = (
        "import os, signal\n"
        "from worker.runtime.temporary_folders import temporary_folder\n"
        "folder = temporary_folder()\n"
        "open(folder.name + '/video.mp4', 'w').close()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(__file__).resolve().parents[4])
    (left,) = tmpdir.iterdir()
    others = [tmpdir / "longtake-notes", tmpdir / "else"]
    for folder in others:
        folder.mkdir()
    with temporary_folder() as mine:
        assert remove_left_behind() == 1
        assert {*tmpdir.iterdir()} == {*others, Path(mine)}
    assert not left.exists()
    assert remove_left_behind() == 0
