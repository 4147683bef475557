"""compare.html: the report with plots and, by prompt, the methods' videos side by side.

Everything of others is text: prompts cannot become markup.
"""

from __future__ import annotations

from importlib import resources
from xml.etree.ElementTree import Element

from core.metrics.reports.markup import document, element
from core.metrics.reports.plots import line_plot
from core.model.evaluation.compare.figures import figure
from core.model.evaluation.compare.interval_plots import STYLE as INTERVAL_STYLE
from core.model.evaluation.compare.interval_plots import order_plots, value_plots
from core.model.evaluation.compare.prompt_videos import prompt_videos
from core.model.evaluation.compare.report import title_of
from core.model.evaluation.compare.results import Results, fact_of
from core.model.evaluation.compare.sections import (
    ORDERS,
    OVER_LENGTH,
    VALUES,
    VERDICTS,
    Items,
    Section,
    Text,
    counts,
    sections,
)
from core.model.evaluation.compare.table_one import Table
from core.model.evaluation.compare.workspace import Workspace

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: 'self' file:; media-src data: 'self' file:;"
    " base-uri 'none'; form-action 'none'"
)
"""What a browser may do for this page: it has no script, and loads what is in it, and videos and pictures beside it."""
_LONG_CHARS = 40
"""Longer text of a cell gets a wide column: in a narrow one it makes rows of the height of a phone's screen."""
_STYLE = (
    """
:root { --good: #1a7a3c; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --good: #6fd08f; --bad: #ff9a8d; } }
.side-by-side { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem 1.6rem; }
.side-by-side video, .side-by-side img { width: 100%; height: auto; image-rendering: pixelated; }
.side-by-side video { aspect-ratio: 1; background: #000; }
tbody th { min-width: 13rem; }
tbody th, thead th:first-child { position: sticky; left: 0; z-index: 1; background: var(--paper); }
thead th:first-child { background: var(--raised); }
td { white-space: nowrap; }
td.long { min-width: 17rem; white-space: normal; overflow-wrap: break-word; }
.verdict { white-space: nowrap; font-weight: 600; }
.confirmed { color: var(--good); }
.reverse { color: var(--bad); }
.counts { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; padding: 0; list-style: none; }
.counts strong { font-size: 1.5rem; }
thead .number { white-space: normal; }
.plots { margin: 1.2rem 0; }
@media (max-width: 48rem) { tbody th { min-width: 9rem; max-width: 9.5rem; padding: .35rem .4rem; } }
"""
    + INTERVAL_STYLE
)


def page(results: Results, workspace: Workspace) -> str:
    """The whole file."""
    header = element("header", element("h1", "Comparison"), element("p", title_of(results), class_="quiet"))
    parts = [_section(section, results) for section in sections(results)]
    videos = element("section", element("h2", "Each prompt"), *prompt_videos(results, workspace))
    return document(element("html", _head(), element("body", header, element("main", *parts, videos)), lang="en"))


def _head() -> Element:
    policy = element("meta", content=_POLICY)
    policy.set("http-equiv", "Content-Security-Policy")
    viewport = element("meta", name="viewport", content="width=device-width, initial-scale=1")
    style = resources.files("core.metrics.reports").joinpath("report.css").read_text(encoding="utf-8")
    title = element("title", "Longtake: comparison")
    return element("head", element("meta", charset="utf-8"), policy, viewport, title, element("style", style + _STYLE))


def _section(section: Section, results: Results) -> Element:
    made = element("section", element("h2", section.title), *(_block(block, section.title) for block in section.blocks))
    if section.title == "Verdicts":
        made.insert(1, _counts(results))
    plots = {ORDERS: order_plots, VALUES: value_plots, OVER_LENGTH: _prefix_plots}.get(section.title)
    if plots is not None:
        made.append(plots(results))
    return made


def _block(block: Text | Items | Table, title: str) -> Element:
    if isinstance(block, Text):
        return element("p", block.text, class_="quiet" if block.is_quiet else None)
    if isinstance(block, Items):
        return element("ul", *(element("li", line) for line in block.lines))
    return _table(block, title)


def _counts(results: Results) -> Element:
    """How many orders have which verdict, at a glance."""
    items = [
        element("li", element("strong", str(number), class_=_class(verdict)), f" {verdict}")
        for verdict, number in counts(results.findings()).items()
    ]
    return element("ul", *items, class_="counts")


def _table(table: Table, title: str) -> Element:
    rows = [
        element("tr", element("th", row[0], scope="row"), *(_cell(cell, table) for cell in row[1:]))
        for row in table.rows
    ]
    class_ = "number" if table.is_of_numbers else None
    first, *others = table.heads
    columns = (element("th", head, scope="col", class_=class_) for head in others)
    heads = element("tr", element("th", first, scope="col"), *columns)
    content = element("table", element("thead", heads), element("tbody", *rows))
    # Wide tables scroll; with the keyboard, too.
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=title)


def _cell(text: str, table: Table) -> Element:
    if text in VERDICTS:
        return element("td", text, class_=f"verdict {_class(text)}")
    if table.is_of_numbers:
        return element("td", text, class_="number")
    return element("td", text, class_="long" if len(text) > _LONG_CHARS else None)


def _class(verdict: str) -> str:
    return verdict.replace(" ", "-")


def _prefix_plots(results: Results) -> Element:
    grid = element("div", class_="plots")
    for name in results.headline:
        means = {
            method.facts.title: [
                (length, mean) for length in results.prefixes if (mean := method.mean(name, length)) is not None
            ]
            for method in results.methods.values()
        }
        # One axis for all methods, so that their plots compare by eye.
        drawn = [mean for found in means.values() for _, mean in found]
        ends = [end for mean in drawn for end in ((mean.low, mean.high) if mean.is_known else (mean.value,))]
        for method, found in means.items():
            if len(found) < 2:
                continue
            title = f"{method}: {fact_of(name).title}"
            points = [(float(length), mean.value) for length, mean in found]
            band = [((float(length), mean.low), (float(length), mean.high)) for length, mean in found if mean.is_known]
            described = f"{title} of the first frames, from {figure(found[0][1].value)} to {figure(found[-1][1].value)}"
            plot = line_plot(
                points,
                results.plan.frames,
                described=described,
                y_label=fact_of(name).title,
                band=band,
                reaching=ends,
            )
            grid.append(element("figure", element("p", title, class_="title"), plot))
    return grid
