"""Reads a file of prompts and gives each video its own.

Text: one prompt a line, in the order of the videos; an empty line gives its video none. JSON: a list of prompts in that
order, or an object of prompts by file name. JSON lines and CSV: `file` and `prompt`.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.metrics.evaluation.inputs import Source, readable
from core.metrics.evaluation.results import Problem
from core.service.domain.errors import LongtakeError, shortened

MAX_BYTES = 64 * 2**20


class PromptsUnreadable(LongtakeError):
    """The file of prompts cannot be read."""

    code = "prompts_unreadable"


@dataclass(frozen=True)
class Prompts:
    """Prompts in the order of the videos, or by the name of a video. One of both is empty."""

    in_order: Sequence[str | None] = ()
    by_name: Mapping[str, str] | None = None


def read_prompts(path: Path) -> Prompts:
    """Read a file of prompts; what it is, its suffix says: .json, .jsonl, .csv, or else lines of text.

    Raises PromptsUnreadable, which names the file and, where there is one, the line.
    """
    try:
        with path.open("rb") as file:  # which may be a pipe, of no known size
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise PromptsUnreadable(f"{readable(path)} is larger than {MAX_BYTES >> 20} MB")
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        prompts = _READERS.get(path.suffix.lower(), _lines)(text)
    except OSError as error:
        raise PromptsUnreadable(f"{readable(path)} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise PromptsUnreadable(
            f"{readable(path)} holds no prompts that can be read: it is nested too deeply"
        ) from error
    except ValueError as error:
        raise PromptsUnreadable(f"{readable(path)} holds no prompts that can be read: {error}") from error
    if not prompts.in_order and not prompts.by_name:
        raise PromptsUnreadable(f"{readable(path)} holds no prompt")
    return prompts


def give_prompts(sources: Sequence[Source], prompts: Prompts) -> tuple[list[Source], list[Problem]]:
    """The videos with their prompts. A job's own prompt stays; prompts in order are for the videos that are files, and
    a file that is given twice takes two of them.

    Problems: prompts without a video, names that fit several videos, and videos that several names fit.
    """
    if prompts.by_name is not None:
        return _by_name(sources, prompts.by_name)
    lines = iter(prompts.in_order)
    given = [source if source.job_id else replace(source, prompt=next(lines, None)) for source in sources]
    num_files = sum(source.job_id is None for source in sources)
    return given, [_unused(line, f"there are only {num_files} files") for line in lines if line is not None]


def _by_name(sources: Sequence[Source], prompts: Mapping[str, str]) -> tuple[list[Source], list[Problem]]:
    places = [os.path.realpath(source.path) for source in sources]
    names: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for name in prompts:
        fitting = {
            place: source
            for place, source in zip(places, sources, strict=True)
            if not source.job_id and _fits(name, source)
        }
        if len(fitting) > 1:
            fit = ", ".join(readable(source.path) for source in fitting.values())
            problems.append(_problem(shortened(name), "ambiguous_prompt", f"this name of a prompt fits several: {fit}"))
        elif not fitting:
            problems.append(_unused(name, "no video has this name"))
        else:
            names.setdefault(next(iter(fitting)), []).append(name)
    given: dict[str, str] = {}
    for place, of_one in names.items():
        if len(of_one) == 1:
            given[place] = prompts[of_one[0]]
        else:
            text = f"several names of prompts fit this video, so it has none: {', '.join(map(shortened, of_one))}"
            problems.append(_problem(readable(sources[places.index(place)].path), "ambiguous_prompt", text))
    prompted = [
        replace(source, prompt=source.prompt or given.get(place)) for place, source in zip(places, sources, strict=True)
    ]
    return prompted, problems


def _fits(name: str, source: Source) -> bool:
    """A path, its last parts, or the name without suffix."""
    wanted = Path(name).parts
    is_path = bool(wanted) and "." in name and wanted == source.path.parts[-len(wanted) :]
    return is_path or source.path.stem == name


def _unused(prompt: str, why: str) -> Problem:
    return _problem(shortened(prompt, 60), "unused_prompt", f"a prompt without a video: {why}")


def _problem(name: str, kind: Literal["unused_prompt", "ambiguous_prompt"], text: str) -> Problem:
    return Problem(input=name, kind=kind, text=text, is_skipped=False)


def _lines(text: str) -> Prompts:
    return Prompts([line.strip() or None for line in text.rstrip().split("\n")] if text.strip() else [])


def _json(text: str) -> Prompts:
    content = _parsed(text)
    if isinstance(content, list):
        if all(isinstance(entry, str) for entry in content):
            return Prompts([_prompt(entry) for entry in content])
        return _rows(list(enumerate(content, start=1)), "entry")
    if not isinstance(content, dict):
        raise ValueError("neither a list nor an object")
    return Prompts(by_name={str(name): _prompt(prompt) for name, prompt in content.items()})


def _json_lines(text: str) -> Prompts:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    rows: list[tuple[int, Any]] = []
    for number, line in lines:
        try:
            rows.append((number, _parsed(line)))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return _rows(rows, "line")


def _parsed(text: str) -> Any:
    """Raises ValueError, also where an object has a name twice, of which one would be lost."""

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in pairs:
            if name in made:
                raise ValueError(f"{shortened(name)} is named twice")
            made[name] = value
        return made

    return json.loads(text, object_pairs_hook=without_repeats)


def _csv(text: str) -> Prompts:
    """Strict, as a quotation mark that is never closed would swallow the lines after it."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    rows: list[tuple[int, dict[str | None, Any]]] = []
    try:
        for row in reader:
            if None in row:
                raise ValueError(
                    f"line {reader.line_num} has more fields than the first line: put a prompt with a comma in quotes"
                )
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise ValueError(f"line {reader.reader.line_num}: {error}") from error
    return _rows(rows, "line")


def _rows(rows: Sequence[tuple[int, Any]], what: str) -> Prompts:
    by_name: dict[str, str] = {}
    for number, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("file"), str) or not row["file"]:
            raise ValueError(f"{what} {number} has no `file`")
        if not isinstance(row.get("prompt"), str):
            raise ValueError(f"{what} {number} has no `prompt`")
        if row["file"] in by_name:
            raise ValueError(f"{what} {number} names {shortened(row['file'])} again")
        by_name[row["file"]] = _prompt(row["prompt"])
    return Prompts(by_name=by_name)


def _prompt(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{shortened(str(value))!r} is no prompt")
    return value.strip()


_READERS = {".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv}
