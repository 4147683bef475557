"""compare.html: one file with tables, plots and, by prompt, the methods' videos side by side.

Small videos are within it, the others beside it. Everything of others is text: prompts cannot become markup.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from importlib import resources
from xml.etree.ElementTree import Element

from core.metrics.reports.markup import document, element
from core.metrics.reports.media import MOST_EMBEDDED_BYTES
from core.metrics.reports.plots import line_plot, picture_plot
from core.model.evaluation.compare.plan import Video
from core.model.evaluation.compare.plots import order_panels, picture, value_panels
from core.model.evaluation.compare.report import (
    SECONDS_NOTE,
    TABLE_NOTE,
    VERDICT_NOTE,
    method_rows,
    order_rows,
    protocol_lines,
    title_of,
)
from core.model.evaluation.compare.results import Results, fact_of
from core.model.evaluation.compare.table_one import Table, all_values, prefix_table, table_one
from core.model.evaluation.compare.workspace import Workspace
from core.model.evaluation.reports.chart import Panel

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data: 'self' file:; base-uri 'none';"
    " form-action 'none'"
)
"""What a browser may do for this page: it has no script, and loads what is in it and the videos beside it."""
_STYLE = """
.side-by-side { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem 1.6rem; }
.side-by-side video, .side-by-side img { width: 100%; height: auto; background: #000; image-rendering: pixelated; }
tbody th { min-width: 12rem; }
.chart { max-width: 100%; height: auto; }
"""
_OPEN_PROMPTS = 1
"""Prompts whose videos are not folded."""


def page(results: Results, workspace: Workspace) -> str:
    """The whole file."""
    header = element("header", element("h1", "Comparison"), element("p", title_of(results), class_="quiet"))
    main = element(
        "main",
        _unfinished(results),
        _section("What was done", *(element("p", line) for line in protocol_lines(results))),
        _section("Table 1", _table(table_one(results)), _note(TABLE_NOTE)),
        _section("Orders that the paper publishes", _note(VERDICT_NOTE), _orders(results)),
        _section("Plots", *_charts(results)),
        _section("Over length", _table(prefix_table(results)), _prefix_plots(results)),
        _section("All values", _table(all_values(results)), _meanings(results)),
        _section("Methods", _methods(results), _note(SECONDS_NOTE)),
        _section("Each prompt", *_prompts(results, workspace)),
    )
    return document(element("html", _head(), element("body", header, main), lang="en"))


def _head() -> Element:
    policy = element("meta", content=_POLICY)
    policy.set("http-equiv", "Content-Security-Policy")
    viewport = element("meta", name="viewport", content="width=device-width, initial-scale=1")
    style = resources.files("core.metrics.reports").joinpath("report.css").read_text(encoding="utf-8")
    title = element("title", "Longtake: comparison")
    return element("head", element("meta", charset="utf-8"), policy, viewport, title, element("style", style + _STYLE))


def _section(title: str, *content: Element | None) -> Element:
    return element("section", element("h2", title), *content)


def _note(markdown: str) -> Element:
    return element("p", markdown.replace("`", ""), class_="quiet")


def _table(table: Table) -> Element:
    rows = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, class_="number" if table.is_of_numbers else None) for cell in row[1:]),
        )
        for row in table.rows
    ]
    heads = element("tr", *(element("th", head, scope="col") for head in table.heads))
    content = element("table", element("thead", heads), element("tbody", *rows))
    # Wide tables scroll; with the keyboard, too.
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=table.heads[0] or "table")


def _unfinished(results: Results) -> Element | None:
    items = [element("li", element("strong", "Not finished: "), line) for line in results.missing]
    for name, method in results.methods.items():
        for index, error in method.failures.items():
            items.append(
                element("li", element("strong", "Failed: "), f"{name}, {results.plan.prompts[index]}: {error}")
            )
    return _section("Not in the figures", element("ul", *items, class_="problems")) if items else None


def _orders(results: Results) -> Element:
    rows = order_rows(results)
    if not rows:
        return element("p", "The paper publishes no order of these methods.")
    return _table(Table(("expected", "published", "difference", "verdict", "prompts"), rows, is_of_numbers=False))


def _methods(results: Results) -> Element:
    heads = ("method", "begins with", "seconds per video", "source", "fingerprint")
    return _table(Table(heads, method_rows(results), is_of_numbers=False))


def _meanings(results: Results) -> Element:
    items = [
        element("li", element("strong", f"{fact_of(name).title}: "), f"{fact_of(name).meaning} {fact_of(name).source}")
        for name in results.names
    ]
    return element("ul", *items, class_="quiet")


def _charts(results: Results) -> Iterator[Element]:
    for title, panels in (("Means and intervals", value_panels(results)), ("Orders", order_panels(results))):
        if panels:
            buffer = io.BytesIO()
            picture(title, panels).save(buffer, "PNG", optimize=True)
            source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
            yield element("p", element("img", src=source, alt=_spoken(panels), class_="chart"))


def _spoken(panels: list[Panel]) -> str:
    """What the picture shows, for those who do not see it: its numbers are in the tables."""
    return f"Plots with intervals: {'; '.join(panel.title for panel in panels)}. The tables have their numbers."


def _prefix_plots(results: Results) -> Element:
    grid = element("div", class_="plots")
    for name in results.headline:
        for method in results.methods.values():
            found = [(length, mean) for length in results.prefixes if (mean := method.mean(name, length)) is not None]
            if len(found) < 2:
                continue
            title = f"{method.facts.title}: {fact_of(name).title}"
            points = [(float(length), mean.value) for length, mean in found]
            band = [((float(length), mean.low), (float(length), mean.high)) for length, mean in found if mean.is_known]
            described = f"{title} of the first frames, from {found[0][1].value:.3g} to {found[-1][1].value:.3g}"
            plot = line_plot(points, results.plan.frames, described=described, y_label=fact_of(name).title, band=band)
            grid.append(element("figure", element("p", title, class_="title"), plot))
    return grid


def _prompts(results: Results, workspace: Workspace) -> Iterator[Element]:
    left = MOST_EMBEDDED_BYTES
    for index, prompt in enumerate(results.plan.prompts):
        grid = element("div", class_="side-by-side")
        for name, method in results.methods.items():
            if index in method.finished:
                video = results.plan.video(name, index)
                size = workspace.playable(video).stat().st_size
                grid.append(_figure(results, workspace, video, embedded=size <= left))
                left -= size if size <= left else 0
        if len(grid):
            summary = element("summary", element("h3", f"{index + 1}. {prompt}"))
            yield element("details", summary, element("div", grid, class_="inside"), open=index < _OPEN_PROMPTS)


def _figure(results: Results, workspace: Workspace, video: Video, *, embedded: bool) -> Element:
    """A method's video, contact sheet and x-t slice."""
    method, pictures, file = results.methods[video.method], workspace.pictures(video), workspace.playable(video)
    title = method.facts.title
    if embedded:
        url = f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}"
    else:
        url = file.relative_to(workspace.folder).as_posix()
    player = element("video", controls=True, loop=True, muted=True, preload="metadata", aria_label=f"Video: {title}")
    player.append(element("source", src=url, type="video/mp4"))
    sheet = f"data:image/jpeg;base64,{base64.b64encode(pictures.sheet).decode()}"
    values = method.finished[video.index].measured.whole.values
    figures = (
        f"{fact_of(name).title} {value:.{fact_of(name).decimals}f}"
        for name in results.headline
        if (value := values.get(name)) is not None
    )
    described = f"x-t slice of {title}: one row of pixels of each frame side by side, time to the right"
    return element(
        "figure",
        element("p", title, class_="title"),
        player,
        element("img", src=sheet, alt=f"Contact sheet of {title}: frames evenly spaced from the first to the last"),
        picture_plot(pictures.slice, results.plan.frames, described=described, y_label="x"),
        element("figcaption", ", ".join(figures)),
    )
