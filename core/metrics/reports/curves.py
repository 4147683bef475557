"""The plots of a page: each video's curves, and the mean curve over all videos."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from core.metrics.evaluation.results import Column, Results, StoredCurve, VideoResult
from core.metrics.reports.markup import element
from core.metrics.reports.plots import Point, line_plot, mean_of
from core.metrics.reports.titles import Facts, fact_of, text_of, title_of


def video_curves(video: VideoResult, facts: Facts, picture: Element) -> Element:
    """A video's curves in a grid; `picture` is the first of them."""
    grid = element("div", picture, class_="plots")
    for name, curve in video.measured.curves.items():
        points = [(float(curve.first + index * curve.step), value) for index, value in enumerate(curve.values)]
        grid.append(_figure(video.measured.column(name), points, video.file.num_frames, facts, of_what=video.name))
    return grid


def mean_curves(results: Results, facts: Facts) -> Element | None:
    """The mean of each curve over the videos, as far as all of them go; None with fewer than two videos."""
    curves: dict[Column, list[StoredCurve]] = {}
    for video in results.videos:
        for name, curve in video.measured.curves.items():
            curves.setdefault(video.measured.column(name), []).append(curve)
    grid = element("div", class_="plots")
    for column, of_videos in curves.items():
        if len(of_videos) > 1:
            grid.append(_mean_figure(column, of_videos, facts))
    if not len(grid):
        return None
    told = "Means over all videos, as far as the shortest goes. Shaded: from the lowest to the highest video."
    return element("section", element("h2", "Over time"), element("p", told, class_="quiet"), grid)


def _mean_figure(column: Column, curves: Sequence[StoredCurve], facts: Facts) -> Element:
    step = max(curve.step for curve in curves)
    first = max(curve.first for curve in curves)
    num_frames = min(curve.first + curve.step * len(curve.values) for curve in curves)
    frames = list(range(first, num_frames, step))
    at_frames = [[curve.values[(frame - curve.first) // curve.step] for curve in curves] for frame in frames]
    points = [(float(frame), mean_of(values)) for frame, values in zip(frames, at_frames, strict=True)]
    band: list[tuple[Point, Point]] = []
    for frame, values in zip(frames, at_frames, strict=True):
        known = [value for value in values if value is not None]
        if known:
            band.append(((float(frame), min(known)), (float(frame), max(known))))
    return _figure(column, points, num_frames, facts, of_what=f"mean of {len(curves)} videos", band=band)


def _figure(
    column: Column,
    points: Sequence[Point],
    num_frames: int,
    facts: Facts,
    *,
    of_what: str,
    band: Sequence[tuple[Point, Point]] = (),
) -> Element:
    fact, title = fact_of(column.name, facts), title_of(column, facts)
    known = [value for _, value in points if value is not None]
    told = "no values"
    if known:
        least, most, mean = (
            text_of(float(value), column.name, facts) for value in (min(known), max(known), sum(known) / len(known))
        )
        told = f"between {least} and {most}, on average {mean}"
    described = f"{title} over {num_frames} frames, {of_what}: {told}"
    plot = line_plot(points, num_frames, described=described, y_label=fact.title, band=band)
    return element("figure", element("p", title, class_="title"), plot, element("figcaption", fact.meaning))
