"""The suite `images`: what `sprites-zero` and `sprites-edit` make of prompts, edges and instructions.

Scenes are new ones, drawn from another seed than those of training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.model.evaluation.generation.image_requests import REQUESTS, Wanted, made
from core.model.evaluation.generation.progress import AddBar, progress_bars
from core.model.evaluation.metrics.likeness import Likeness, likeness
from core.model.evaluation.reports.report import Report, Section
from core.model.evaluation.reports.summary import Row, row_of
from core.service.admission.catalog import PresetFolder
from core.service.domain.engine import Engine, FramesTHWC
from core.service.engines.preset import Preset
from core.service.settings import Settings
from core.service.video.contact_sheet import contact_sheet

ZERO, EDIT = "sprites-zero", "sprites-edit"
_GROUPS = {"prompts": ZERO, "edges": ZERO, "edits": EDIT}
"""Kind of request -> preset."""
_CLIPS = 20
_SHOWN = 8
"""Clips of each group in the sheet."""


@dataclass(frozen=True)
class Loaded:
    """A preset with its engine."""

    preset: Preset
    engine: Engine


@dataclass(frozen=True)
class Result:
    """A clip that was made, and how like it is to what was wanted."""

    wanted: Wanted
    frames: FramesTHWC
    likeness: Likeness


def main(arguments: argparse.Namespace) -> int:
    """Make and measure the clips, write the report, print the table; returns the exit status. Raises PresetError."""
    count, folder = arguments.prompts or _CLIPS, arguments.out / "images"
    models = {name: load(arguments.preset.parent / name, arguments.threads) for name in (ZERO, EDIT)}
    with progress_bars() as add_bar:
        results = {group: results_of(group, models[name], count, add_bar) for group, name in _GROUPS.items()}
    report = Report(
        title=f"{ZERO} and {EDIT}, {count} clips each",
        engine="; ".join(model.engine.fingerprint for model in models.values()),
        sections=[Section(group, rows_of(group, [one.likeness for one in of])) for group, of in results.items()],
        upper_bounds={},
        notes=[],
    )
    report.write(folder)
    write_sheet([one for of in results.values() for one in of[:_SHOWN]], report.title, folder / "sheet.png")
    sys.stdout.write(f"{report.table()}\n\n{folder}/report.md, report.json, report.png, sheet.png\n")
    return 0


def load(folder: Path, threads: int) -> Loaded:
    """A preset by its folder. Raises PresetError."""
    found = PresetFolder(folder, Settings(torch_threads=threads))
    return Loaded(found.preset, found.engine.load(found.engine_context()))


def results_of(group: str, model: Loaded, count: int, add_bar: AddBar) -> list[Result]:
    """Clips of one kind of request."""
    update, results = add_bar(group, count), list[Result]()
    for wanted in REQUESTS[group](model.preset, count):
        frames = made(model.engine, wanted)
        results.append(Result(wanted, frames, likeness(wanted.frames, frames)))
        update(len(results))
    return results


def rows_of(group: str, figures: Sequence[Likeness]) -> list[Row]:
    """The table's rows of one kind of request. Places are the model's choice where only a prompt is given."""
    rows = [
        row_of(f"{group}: frames of the right colours", [each.colours for each in figures]),
        row_of(f"{group}: frames of the right colours and shapes", [each.shapes for each in figures]),
        row_of(f"{group}: error of the background, of 255", [each.background for each in figures]),
    ]
    if group == "prompts":
        return rows
    distances = [each.distance for each in figures if each.distance is not None]
    return [
        *rows,
        row_of(f"{group}: overlap of colours (IoU)", [each.overlap for each in figures]),
        *([row_of(f"{group}: distance of objects, pixels", distances)] if distances else []),
    ]


def write_sheet(results: Sequence[Result], title: str, path: Path) -> None:
    """A contact sheet of clips, each below its input."""
    rows = [row for result in results for row in _sheet_rows(result)]
    contact_sheet([frames for _, frames in rows], [f"\n{label}" for label, _ in rows], title=title).save(path)


def _sheet_rows(result: Result) -> Iterator[tuple[str, FramesTHWC]]:
    video = result.wanted.inputs.video
    if video is not None:
        yield "input", video.read(0, video.num_frames)
    yield result.wanted.spec.prompt, result.frames
