"""This machine's pip settings as environment variables for the Debian, and the folders that they name.

Only passes on: names no index itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

FILES_OF_SETTINGS = ("PIP_CONFIG_FILE",)


def pip_environment() -> dict[str, str]:
    """What pip is set to here, by files and by the environment, as PIP_ variables. Those of the environment win."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    by_files = dict(_setting(line) for line in asked.splitlines() if line.startswith(("global.", "install.")))
    given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {name: value for name, value in {**by_files, **given}.items() if name not in FILES_OF_SETTINGS}


def _setting(line: str) -> tuple[str, str]:
    """`global.find-links='/wheels'` as PIP_FIND_LINKS and /wheels."""
    name, _, value = line.partition("=")
    return f"PIP_{name.partition('.')[2].upper().replace('-', '_')}", " ".join(value.strip("'\"").split("\\n"))


def local_paths(environment: Mapping[str, str]) -> list[Path]:
    """Files and folders of this machine that the settings name, each once; what lies in another is left out. Of an
    index it is the folder around it: its pages name files beside it."""
    words = [word for value in environment.values() for word in value.split() if "/" in word]
    paths = {Path(urlparse(word).path).parent if word.startswith("file://") else Path(word) for word in words}
    there = sorted(path for path in paths if path.is_absolute() and path.exists() and path != Path("/"))
    return [path for path in there if not any(other in path.parents for other in there)]
