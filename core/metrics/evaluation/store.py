"""Finished videos in the output folder, so that the same command goes on where it was stopped.

A result belongs to the file's bytes and to all that its values depend on, not to the file's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from core.metrics.evaluation.pictures import Pictures
from core.metrics.evaluation.results import FileFacts, Measured
from core.whole_files import remove_abandoned, write_whole

M = TypeVar("M", bound=BaseModel)
_FACTS_VERSION = 2
"""Rises when a look finds other facts in the same bytes: files are then looked at again."""


@dataclass(frozen=True)
class Store:
    """A folder of results. Several processes may write to it."""

    folder: Path

    def clean(self) -> None:
        """Remove what killed processes left half written."""
        remove_abandoned(self.folder)

    def file_facts(self, sha256: str) -> FileFacts | None:
        """What was found before in a file with these bytes."""
        return _read(self._facts(sha256), FileFacts)

    def keep_file_facts(self, facts: FileFacts) -> None:
        write_whole(self._facts(facts.sha256), facts.model_dump_json().encode())

    def measured(self, key: str) -> Measured | None:
        """The result of an earlier run; None also if a picture of it is missing."""
        if not (self._sheet(key).is_file() and self._slice(key).is_file()):
            return None
        return _read(self.folder / f"{key}.json", Measured)

    def keep_measured(self, key: str, measured: Measured, pictures: Pictures) -> None:
        """The result last: where it is, all is."""
        write_whole(self._sheet(key), pictures.sheet)
        write_whole(self._slice(key), pictures.slice)
        write_whole(self.folder / f"{key}.json", measured.model_dump_json().encode())

    def pictures(self, key: str) -> Pictures:
        """Those of a kept result."""
        return Pictures(self._sheet(key).read_bytes(), self._slice(key).read_bytes())

    def _facts(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.file-{_FACTS_VERSION}.json"

    def _sheet(self, key: str) -> Path:
        return self.folder / f"{key}.sheet.jpg"

    def _slice(self, key: str) -> Path:
        return self.folder / f"{key}.slice.jpg"


def key_of(facts: Mapping[str, object]) -> str:
    """A name for what a result depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, model: type[M]) -> M | None:
    """None for what is missing, cut off or of another version: it is made again."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
