"""Writes results.json, results.md and report.html into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.metrics.evaluation.instruments import Instruments
from core.metrics.evaluation.pictures import Pictures
from core.metrics.evaluation.results import Results
from core.metrics.reports.markdown import as_markdown
from core.metrics.reports.media import media_of
from core.metrics.reports.page import Shown, page

JSON_NAME, MARKDOWN_NAME, HTML_NAME = "results.json", "results.md", "report.html"


def write_reports(
    results: Results,
    instruments: Instruments,
    paths: Sequence[Path],
    pictures: Sequence[Pictures],
    folder: Path,
    embed_bytes: int,
) -> None:
    """`paths` and `pictures` are of `results.videos`, in their order. Videos of more than `embed_bytes` become copies
    beside the page."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / JSON_NAME, results.model_dump_json(indent=1) + "\n")
    _write(folder / MARKDOWN_NAME, as_markdown(results, instruments.facts))
    shown = [Shown(*each) for each in zip(media_of(paths, folder, embed_bytes), pictures, strict=True)]
    _write(folder / HTML_NAME, page(results, instruments.facts, instruments.curve_facts, shown))


def _write(path: Path, text: str) -> None:
    """Whole or not at all, so that a reader never sees half a report."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
