"""Writes a comparison's report: the page, Markdown and JSON."""

from __future__ import annotations

from core.model.evaluation.compare.page import page
from core.model.evaluation.compare.report import write_text_reports
from core.model.evaluation.compare.results import Results
from core.model.evaluation.compare.workspace import Workspace
from core.whole_files import write_whole

FILES = ("compare.html", "compare.md", "compare.json")


def write_report(results: Results, workspace: Workspace) -> None:
    """Write FILES into the output folder."""
    write_text_reports(results, workspace.folder)
    write_whole(workspace.folder / "compare.html", page(results, workspace).encode())
