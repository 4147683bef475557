"""Writes results.json, results.md and report.html into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.metrics.evaluation.instruments import Instruments
from core.metrics.evaluation.pictures import Pictures
from core.metrics.evaluation.results import Results
from core.metrics.evaluation.run import Video
from core.metrics.reports.markdown import as_markdown
from core.metrics.reports.media import media_of
from core.metrics.reports.page import Illustrations, page
from core.whole_files import remove_abandoned, write_whole

JSON_NAME, MARKDOWN_NAME, HTML_NAME = "results.json", "results.md", "report.html"


def write_reports(
    results: Results,
    instruments: Instruments,
    videos: Sequence[Video],
    pictures: Sequence[Pictures],
    folder: Path,
    embed_bytes: int,
) -> None:
    """`videos` and `pictures` are of `results.videos`, in their order. Videos of more than `embed_bytes` become copies
    beside the page. Raises OSError."""
    remove_abandoned(folder)
    write_whole(folder / JSON_NAME, (results.model_dump_json(indent=1) + "\n").encode())
    write_whole(folder / MARKDOWN_NAME, as_markdown(results, instruments.facts, instruments.about).encode())
    media = media_of(videos, folder, embed_bytes)
    illustrations = [Illustrations(*each) for each in zip(media, pictures, strict=True)]
    write_whole(folder / HTML_NAME, page(results, instruments, illustrations).encode())
