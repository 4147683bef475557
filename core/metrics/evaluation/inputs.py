"""Which videos are to be measured: files and folders of the command line, in the order of the report."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.metrics.evaluation.results import Problem
from core.metrics.video.seams import Borders
from core.service.domain.schema import PromptChange, Variant

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"),
    }
)
"""Of the files in a folder those are taken for videos. A file that is named itself can have any name."""
_LEFT_OUT_NAMED = 6


@dataclass(frozen=True)
class Source:
    """A video to measure."""

    name: str
    """As the report calls it: the file's name, with as much of its path as makes it unique; or the job's id."""
    path: Path
    prompt: str | None = None
    job_id: str | None = None
    variant: Variant | None = None
    prompt_changes: Sequence[PromptChange] = ()
    """Later prompts of a job, by frame."""
    borders: Borders | None = None
    """Where its windows begin, if that is known."""
    is_usable: bool = True
    """False: it is known that it cannot be measured. It is kept until prompts are given, as one of them is its own."""


def readable(path: Path | str) -> str:
    """A path as text that can be printed, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "replace")


def find_files(path: Path) -> tuple[list[Path], list[Problem]]:
    """The file, or the videos directly in the folder in natural order (`v2` before `v10`), and what is wrong.

    A file that cannot be measured is not among the files.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _in_folder(path)
    except (FileNotFoundError, NotADirectoryError):
        return [], [_skipped(path, "missing", "it does not exist")]
    except OSError as error:
        return [], [_skipped(path, "unreadable", f"it cannot be read: {error.strerror}")]
    if not stat.S_ISREG(mode):
        return [], [_skipped(path, "unreadable", "it is no regular file")]
    return [path], []


def _in_folder(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Raises OSError."""
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=_natural)
    files = [entry for entry in entries if entry.suffix.lower() in VIDEO_SUFFIXES and entry.is_file()]
    suffixes = " ".join(sorted(VIDEO_SUFFIXES))
    if not files:
        return [], [_skipped(folder, "no_video", f"it is a folder without a video ({suffixes})")]
    if not (others := [readable(entry.name) for entry in entries if entry not in set(files)]):
        return files, []
    more = f" and {len(others) - _LEFT_OUT_NAMED} more" if len(others) > _LEFT_OUT_NAMED else ""
    text = f"not searched for videos in this folder: {', '.join(others[:_LEFT_OUT_NAMED])}{more}"
    return files, [Problem(input=readable(folder), kind="left_out", text=text, is_skipped=False)]


def usable(sources: Iterable[Source]) -> list[Source]:
    """Those that may be measured."""
    return [source for source in sources if source.is_usable]


def named(sources: Iterable[Source]) -> list[Source]:
    """The sources with names that differ: files of one name in several folders get as much of their path as needed."""
    remaining, depth = list(sources), 1
    while True:
        names = [source.job_id or _tail(source.path, depth) for source in remaining]
        doubles = {name for name in names if names.count(name) > 1}
        longest = max((len(source.path.parts) for source in remaining), default=0)
        if not doubles or depth >= longest:
            return [replace(source, name=name) for source, name in zip(remaining, names, strict=True)]
        depth += 1


def without_repeated_paths(sources: Sequence[Source]) -> tuple[list[Source], list[Problem]]:
    """Each file once, however often and by whatever name it was given."""
    kept: dict[str, Source] = {}
    problems: list[Problem] = []
    for source in sources:
        path = os.path.realpath(source.path)
        if path in kept:
            problems.append(
                _skipped(source.path, "duplicate", f"given twice: the same file as {readable(kept[path].path)}")
            )
        else:
            kept[path] = source
    return list(kept.values()), problems


def _tail(path: Path, depth: int) -> str:
    return readable("/".join(path.parts[-depth:]))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Digits compare as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _skipped(path: Path, kind: str, text: str) -> Problem:
    return Problem.model_validate({"input": readable(path), "kind": kind, "text": text, "is_skipped": True})
