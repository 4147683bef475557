"""results.md: the means, the videos and what was wrong with the inputs, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.metrics.evaluation.checks import few
from core.metrics.evaluation.results import Results
from core.metrics.reports.markup import printable
from core.metrics.reports.titles import (
    Facts,
    better_of,
    caption_of_means,
    fact_of,
    head_of_means,
    interval_of,
    made_of,
    mean_text,
    text_of,
    title_of,
)


def as_markdown(results: Results, facts: Facts, about: Sequence[str]) -> str:
    """The whole page; `about`: what readers need before the values.

    Texts of files and prompts are escaped: they cannot become markup.
    """
    head, caption = f"## {head_of_means(results)}", _text(caption_of_means(results))
    parts = ["# Evaluation", _text(made_of(results)), head, *map(_text, about), means_table(results, facts), caption]
    if results.problems:
        lines = [
            f"- {'skipped' if problem.is_skipped else 'measured'}: {_text(problem.input)}: {_text(problem.text)}"
            for problem in results.problems
        ]
        parts += ["## What was wrong with the inputs", "\n".join(lines)]
    parts += ["## Videos", _videos_table(results, facts)]
    if notes := _notes(results):
        parts += ["## Notes", "\n".join(notes)]
    parts += ["## What the values mean", _meanings(results, facts)]
    return "\n\n".join(parts) + "\n"


def means_table(results: Results, facts: Facts) -> str:
    """One row a column: mean, interval, number of videos that answered; of a single video its values. Also what a
    terminal is shown."""
    is_single = len(results.videos) == 1
    rows: list[list[str]] = []
    for mean in results.means:
        name = mean.column.name
        spread = [] if is_single else [interval_of(mean, facts), str(mean.num_videos)]
        rows.append(
            [_text(title_of(mean.column, facts)), mean_text(mean, results, facts), *spread, better_of(name, facts)]
        )
    heads = ["value"] if is_single else ["mean", "95 % interval", "videos"]
    return _table(["metric", *heads, "better"], rows)


def _videos_table(results: Results, facts: Facts) -> str:
    heads = ["video", "prompt", "frames", *(_text(title_of(column, facts)) for column in results.columns)]
    rows: list[list[str]] = []
    for video in results.videos:
        values = video.measured.by_column()
        told = [text_of(values.get(column), column.name, facts) for column in results.columns]
        rows.append([_text(video.name), _text(video.prompt or ""), str(video.file.num_frames), *told])
    return _table(heads, rows)


def _notes(results: Results) -> list[str]:
    """Each note once, with the videos that it is about."""
    videos: dict[str, list[str]] = {}
    for video in results.videos:
        for note in video.measured.notes:
            videos.setdefault(note, []).append(video.name)
    of_all = len(results.videos)
    return [
        f"- {'all videos' if len(names) == of_all else _text(few(names))}: {_text(note)}"
        for note, names in videos.items()
    ]


def _meanings(results: Results, facts: Facts) -> str:
    told = {column.name: fact_of(column.name, facts) for column in results.columns}
    return "\n".join(f"- {_text(fact.title)}: {_text(fact.meaning)} {_text(fact.source)}" for fact in told.values())


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in cells) for cells in zip(heads, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (heads, rule, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Text that Markdown shows as it is: on one line, with escaped marks, which also keeps HTML away."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", printable(" ".join(text.split())))
