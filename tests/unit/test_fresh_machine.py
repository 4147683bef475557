"""The pip settings that the fresh machine gets from this one. The machine itself is `make fresh-machine`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fresh_machine.pip_settings import local_paths, pip_environment


@pytest.fixture(autouse=True)
def _no_pip_settings_from_the_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)


def test_pip_settings_of_files_and_of_the_environment_become_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nextra-index-url = file:///one/simple\n    file:///two/simple\ntimeout = 5\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_TIMEOUT", "7")

    found = pip_environment()

    assert found["PIP_EXTRA_INDEX_URL"].split() == ["file:///one/simple", "file:///two/simple"]
    assert found["PIP_TIMEOUT"] == "7"
    assert "PIP_CONFIG_FILE" not in found


def test_folders_that_the_settings_name_are_found_with_what_lies_around_an_index(tmp_path: Path) -> None:
    for folder in ("wheels", "index/simple", "index/files"):
        (tmp_path / folder).mkdir(parents=True)
    settings = {
        "PIP_FIND_LINKS": f"{tmp_path}/wheels {tmp_path}/none",
        "PIP_EXTRA_INDEX_URL": f"file://{tmp_path}/index/simple https://packages.example/simple",
    }
    assert local_paths(settings) == [tmp_path / "index", tmp_path / "wheels"]
