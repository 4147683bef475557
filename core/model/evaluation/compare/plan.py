"""What is compared: methods, prompts, frames, seeds. Stored in the output folder: a report needs nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.metrics.video.seams import Borders
from core.model.evaluation.methods.method import MethodFacts
from core.service.domain.errors import LongtakeError
from core.whole_files import write_whole

VERSION = 2
"""Of the files of a comparison. Files of another version are made again."""


class ComparisonError(LongtakeError):
    """A comparison cannot be made as asked."""

    code = "comparison_impossible"


@dataclass(frozen=True)
class Plan:
    """A comparison as asked."""

    preset: str
    methods: Mapping[str, MethodFacts]
    """By name, in the order of the report."""
    prompts: Sequence[str]
    prompts_from: str
    """Where they are from: a file's name, or what else they are."""
    frames: int
    seed: int
    left_out: Mapping[str, str]
    """Methods that are not compared, with the reason."""
    notes: Sequence[str] = ()
    """What is not measured, and why."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Of the methods: a video that was made by another one is of other weights or settings, and does not count."""
    profile: str = "fast"
    """Of the preset: how its methods sample."""

    def expected(self, method: str) -> Expected:
        """What the videos of a method are made by, and where their windows begin."""
        return Expected(self.fingerprints[method], named_borders(self.methods[method].borders))

    def video(self, method: str, prompt: int) -> Video:
        """The video of a method and the prompt with this index."""
        return Video(method, prompt, self.prompts[prompt], self.seed + prompt, self.frames)

    def write(self, folder: Path) -> None:
        """Store it in an output folder."""
        write_json(folder / _FILE, {"version": VERSION, "plan": asdict(self)})

    @staticmethod
    def read(folder: Path) -> Plan:
        """The plan that the folder was last used with. Raises ComparisonError if there is none."""
        content = read_json(folder / _FILE)
        try:
            if content is not None and content.get("version") == VERSION:
                return _PLAN.validate_python(content["plan"])
        except (ValidationError, KeyError):
            pass  # written by another version
        raise ComparisonError(
            f"nothing is finished in {folder}: it has no comparison of this version",
            fix="run the comparison first, without --report",
        )


@dataclass(frozen=True)
class Expected:
    """What a finished video has."""

    fingerprint: str
    borders: str
    """Of the seam score, in words: Borders as text."""


@dataclass(frozen=True)
class Video:
    """One video of a comparison."""

    method: str
    index: int
    """Of its prompt."""
    prompt: str
    seed: int
    frames: int


def named_borders(borders: Borders | None) -> str:
    """Borders in words, for stored facts."""
    return "none" if borders is None else str(borders)


_FILE = "plan.json"
_PLAN = TypeAdapter(Plan)


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_whole(file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(file: Path) -> dict[str, Any] | None:
    """The content of a JSON file that holds an object; None if there is none, or it is damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def digest(content: bytes) -> str:
    """Names bytes in stored facts."""
    return hashlib.sha256(content).hexdigest()[:16]
