"""Writes a comparison's report: JSON, Markdown, the page, and a picture of the plots."""

from __future__ import annotations

from core.model.evaluation.compare.page import page
from core.model.evaluation.compare.plots import order_panels, picture, value_panels
from core.model.evaluation.compare.report import title_of, write_text_reports
from core.model.evaluation.compare.results import Results
from core.model.evaluation.compare.workspace import Workspace

FILES = ("compare.html", "compare.md", "compare.json", "compare.png")


def write_report(results: Results, workspace: Workspace) -> None:
    """Write FILES into the output folder."""
    write_text_reports(results, workspace.folder)
    (workspace.folder / "compare.html").write_text(page(results, workspace), encoding="utf-8")
    panels = [*value_panels(results), *order_panels(results)]
    picture(title_of(results), panels).save(workspace.folder / "compare.png")
