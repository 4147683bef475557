"""Which videos are to be measured: files and folders of the command line, in the order of the report."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.metrics.evaluation.results import Problem
from core.service.domain.schema import PromptChange, Variant

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ogv", ".ts", ".webm"})
"""Of the files in a folder those are taken for videos. A file that is named itself can have any name."""


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
    chunk_frames: int | None = None
    """Frames of each chunk, where the video is made of chunks."""


def readable(path: Path | str) -> str:
    """A path as text that can be printed, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "replace")


def find_files(path: Path) -> tuple[list[Path], list[Problem]]:
    """The file, or the videos directly in the folder in natural order (`v2` before `v10`), and what is wrong."""
    if path.is_dir():
        try:
            files = [file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file()]
        except OSError as error:
            return [], [_skipped(path, "unreadable", f"this folder cannot be read: {error.strerror}")]
        if files:
            return sorted(files, key=_natural), []
        suffixes = " ".join(sorted(VIDEO_SUFFIXES))
        return [], [_skipped(path, "no_video", f"no video is directly in this folder ({suffixes})")]
    if not path.exists():
        return [], [_skipped(path, "missing", "there is no such file")]
    return [path], []


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
    kept: dict[Path, Source] = {}
    problems: list[Problem] = []
    for source in sources:
        path = source.path.resolve()
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
