"""Plots of means with intervals for the page: a panel per value, and one per value for the published orders.

Positions are shares of the width, so that a plot has the same size of text on any screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from core.metrics.bootstrap import Interval
from core.metrics.reports.markup import element
from core.metrics.reports.plots import Scale
from core.model.evaluation.compare.figures import with_interval
from core.model.evaluation.compare.results import Results, fact_of

ALSO = ("ofs", "warp_error", "seam_score", "tower_slope", "clip_slope", "tower_identity", "clip_identity")
"""Values with a panel beside those of Table 1."""
_MARGIN = 0.06
"""Of the axis, beyond the smallest and largest value."""
_EDGES = (2.0, 98.0)
"""Of the axis, in percent of the width."""
STYLE = """
.intervals { margin: 0; }
.intervals > div { display: grid; grid-template-columns: minmax(9rem, 15rem) 1fr; gap: 0 .8rem; align-items: center; }
.intervals svg { display: block; width: 100%; height: 1.4rem; overflow: visible; }
.intervals text { fill: var(--quiet); font-size: 12px; text-anchor: middle; }
.intervals .name { font-size: .85rem; overflow-wrap: anywhere; }
.intervals .interval { stroke: var(--curve); stroke-width: 3; }
.intervals .confirmed .interval { stroke: var(--good); } .intervals .confirmed .dot { fill: var(--good); }
.intervals .reverse .interval { stroke: var(--bad); } .intervals .reverse .dot { fill: var(--bad); }
@media (max-width: 48rem) { .intervals > div { grid-template-columns: 1fr; } }
"""


@dataclass(frozen=True)
class Row:
    """One figure with its interval."""

    label: str
    found: Interval
    class_: str | None = None
    """Of a verdict, for its colour."""


def value_plots(results: Results) -> Element:
    """A panel per value: the mean of each method."""
    panels: list[Element] = []
    also = [name for name in ALSO if name in results.names and results.compares(name, *results.methods_with(name))]
    for name in [*results.headline, *also]:
        fact = fact_of(name)
        means = {method.facts.title: method.mean(name) for method in results.methods.values()}
        rows = [Row(label, mean) for label, mean in means.items() if mean is not None]
        better = "" if fact.better is None else f", {fact.better} is better"
        panels.append(_panel(f"{fact.title}{better}", rows))
    return element("div", *panels, class_="plots")


def order_plots(results: Results) -> Element:
    """A panel per measured value: how much better the method is that is published as better."""
    rows: dict[str, list[Row]] = {}
    for finding in results.findings():
        if finding.measured_as is not None and finding.gain.interval is not None:
            names = (finding.ordering.better, finding.ordering.worse)
            label = " against ".join(results.methods[name].facts.title for name in names)
            verdict = finding.verdict if finding.verdict in ("confirmed", "reverse") else None
            rows.setdefault(finding.measured_as, []).append(Row(label, finding.gain.interval, verdict))
    panels = [
        _panel(f"Better by, {fact_of(name).title}: above 0 as published", found, with_zero=True)
        for name, found in rows.items()
    ]
    return element("div", *panels, class_="plots")


def _panel(title: str, rows: Sequence[Row], *, with_zero: bool = False) -> Element:
    axis = _axis(rows, with_zero=with_zero)
    lines = [_row(row, axis) for row in rows]
    return element("figure", element("p", title, class_="title"), *lines, _ticks(axis), class_="intervals")


def _axis(rows: Sequence[Row], *, with_zero: bool) -> Scale:
    """Of the values and their intervals; from 0 only where that is near, or asked for."""
    ends = [bound for row in rows for bound in _bounds(row.found)]
    low, high = min(ends), max(ends)
    if with_zero or 0 <= low < high / 2:
        low, high = min(low, 0.0), max(high, 0.0)
    margin = _MARGIN * (high - low) or abs(high) * _MARGIN or 1.0
    return Scale(low if low == 0 and not with_zero else low - margin, high + margin, *_EDGES)


def _bounds(found: Interval) -> tuple[float, float]:
    """The value alone where a single video has no interval."""
    return (found.low, found.high) if found.is_known else (found.value, found.value)


def _row(row: Row, axis: Scale) -> Element:
    low, high = _bounds(row.found)
    plot = element("svg", role="img", aria_label=f"{row.label}: {with_interval(row.found)}")
    plot.append(element("line", class_="grid", x1=f"{_EDGES[0]}%", x2=f"{_EDGES[1]}%", y1="50%", y2="50%"))
    if axis.low <= 0 <= axis.high:
        plot.append(element("line", class_="axis", x1=f"{axis(0)}%", x2=f"{axis(0)}%", y1="0%", y2="100%"))
    plot.append(element("line", class_="interval", x1=f"{axis(low)}%", x2=f"{axis(high)}%", y1="50%", y2="50%"))
    plot.append(element("circle", class_="dot", cx=f"{axis(row.found.value)}%", cy="50%", r=5))
    return element("div", element("span", row.label, class_="name"), plot, class_=row.class_)


def _ticks(axis: Scale) -> Element:
    plot = element("svg", aria_hidden="true")
    for level in axis.ticks(4):
        plot.append(element("text", f"{level:.6g}", x=f"{axis(level)}%", y=13))
    return element("div", element("span"), plot)
