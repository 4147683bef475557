"""The plots of a page: each video's curves, and the mean curve over all videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from core.metrics.evaluation.results import Column, Results, StoredCurve, VideoResult
from core.metrics.reports.markup import element
from core.metrics.reports.plots import Point, line_plot, mean_of
from core.metrics.reports.titles import Facts, fact_of, text_of, title_of

_MOST_LENGTHS = 5
"""Lengths of videos that are told one by one."""


@dataclass(frozen=True)
class MeanCurve:
    """The mean of a value over several videos, in steps of frames; each step has the videos that are still running."""

    points: Sequence[Point]
    band: Sequence[tuple[Point, Point]]
    """From the lowest to the highest video, where any has a value."""


def video_curves(video: VideoResult, facts: Facts, picture: Element) -> Element:
    """A video's curves in a grid; `picture` is the first of them."""
    grid = element("div", picture, class_="plots")
    num_frames = video.file.num_frames
    for name, curve in video.measured.curves.items():
        points = [
            (_middle(start, _length(curve, start, num_frames)), value)
            for start, value in zip(_starts(curve), curve.values, strict=True)
        ]
        grid.append(_figure(video.measured.column(name), points, num_frames, facts, of_what=video.name))
    return grid


def mean_curves(results: Results, facts: Facts) -> Element | None:
    """The mean of each curve over the videos; None with fewer than two videos."""
    curves: dict[Column, list[tuple[StoredCurve, int]]] = {}
    for video in results.videos:
        for name, curve in video.measured.curves.items():
            curves.setdefault(video.measured.column(name), []).append((curve, video.file.num_frames))
    grid = element("div", class_="plots")
    for column, of_videos in curves.items():
        if len(of_videos) > 1:
            grid.append(_mean_figure(column, of_videos, facts))
    if not len(grid):
        return None
    told = f"Means over the videos that are still running: {_running(results)}. Shaded: from the lowest to the highest."
    return element("section", element("h2", "Over time"), element("p", told, class_="quiet"), grid)


def mean_curve(curves: Sequence[tuple[StoredCurve, int]]) -> MeanCurve:
    """Of curves of one value, each with its video's number of frames.

    Steps are those of the coarsest curve. Within a step a finer curve counts with its mean, weighted by frames.
    """
    step = max(curve.step for curve, _ in curves)
    first = min(curve.first for curve, _ in curves)
    end = max(num_frames for _, num_frames in curves)
    points: list[Point] = []
    band: list[tuple[Point, Point]] = []
    of_each = [_means_by_step(curve, num_frames, first, step) for curve, num_frames in curves]
    for number, start in enumerate(range(first, end, step)):
        known = [means[number] for means in of_each if number in means]
        place = _middle(start, min(step, end - start))
        points.append((place, mean_of(known)))
        if known:
            band.append(((place, min(known)), (place, max(known))))
    return MeanCurve(points, band)


def _starts(curve: StoredCurve) -> range:
    """The first frame of each value."""
    return range(curve.first, curve.first + curve.step * len(curve.values), curve.step)


def _length(curve: StoredCurve, start: int, num_frames: int) -> int:
    """Frames of the value that begins at `start`: the video's last step may be shorter."""
    return max(1, min(curve.step, num_frames - start))


def _middle(start: int, length: int) -> float:
    return start + (length - 1) / 2


def _means_by_step(curve: StoredCurve, num_frames: int, first: int, step: int) -> dict[int, float]:
    """The curve's mean over each `step` frames from `first` on, by the step's number, where it has values."""
    totals: dict[int, tuple[float, int]] = {}
    for start, value in zip(_starts(curve), curve.values, strict=True):
        if value is not None:
            number, length = (start - first) // step, _length(curve, start, num_frames)
            total, weight = totals.get(number, (0.0, 0))
            totals[number] = total + value * length, weight + length
    return {number: total / weight for number, (total, weight) in totals.items()}


def _running(results: Results) -> str:
    """Such as "all 3 up to frame 48, 1 up to frame 96"."""
    ends = Counter(video.file.num_frames for video in results.videos)
    left, parts = len(results.videos), list[str]()
    for end in sorted(ends):
        parts.append(f"{f'all {left}' if left == len(results.videos) else left} up to frame {end - 1}")
        left -= ends[end]
    if len(parts) > _MOST_LENGTHS:
        parts = [parts[0], parts[len(parts) // 2], parts[-1]]
    return ", ".join(parts)


def _mean_figure(column: Column, curves: Sequence[tuple[StoredCurve, int]], facts: Facts) -> Element:
    mean = mean_curve(curves)
    num_frames = max(num_frames for _, num_frames in curves)
    return _figure(column, mean.points, num_frames, facts, of_what=f"mean of {len(curves)} videos", band=mean.band)


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
