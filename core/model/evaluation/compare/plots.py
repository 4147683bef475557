"""compare.png, and its panels for the page: a panel per value with means and intervals of methods, then the orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from PIL import Image

from core.metrics.bootstrap import Interval
from core.model.evaluation.compare.results import Results, fact_of
from core.model.evaluation.reports.chart import Panel, Point, chart

ALSO = ("ofs", "warp_error", "seam_score", "tower_slope", "clip_slope", "tower_identity", "clip_identity")
"""Values with a panel beside those of Table 1."""


def value_panels(results: Results) -> list[Panel]:
    """A panel per value: the mean of each method."""
    names = [*results.headline, *(name for name in ALSO if name in results.names)]
    return [panel for name in names if (panel := _value_panel(results, name)).points]


def order_panels(results: Results) -> list[Panel]:
    """A panel per measured value: how much better, above 0 as published; green if confirmed, red if the reverse is."""
    panels: dict[str, list[Point]] = {}
    for finding in results.findings():
        if finding.measured_as is None or finding.gain.interval is None:
            continue
        better, worse = (
            results.methods[name].facts.title for name in (finding.ordering.better, finding.ordering.worse)
        )
        is_met = {"confirmed": True, "reverse": False}.get(finding.gain.verdict)
        point = _point(f"{better} against {worse}", finding.gain.interval, is_met)
        panels.setdefault(finding.measured_as, []).append(point)
    return [Panel(f"better by, {fact_of(name).title}: above 0 as published", points) for name, points in panels.items()]


def picture(title: str, panels: Sequence[Panel]) -> Image.Image:
    """All panels, one below the other."""
    return chart(title, panels)


def _value_panel(results: Results, name: str) -> Panel:
    fact = fact_of(name)
    better = "" if fact.better is None else f": {fact.better} is better"
    means = {method.facts.title: method.mean(name) for method in results.methods.values()}
    points = [_point(label, mean, None) for label, mean in means.items() if mean is not None]
    return Panel(f"{fact.title}{better}", points)


def _point(label: str, found: Interval, is_met: bool | None) -> Point:
    """Without an interval, of a single video, the dot alone."""
    value, low, high = astuple(found)
    return Point(label, value, low, high, None, is_met) if found.is_known else Point(label, value, value, value)
