"""Plots of values over a video's frames, as SVG that takes its colours from the page."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar
from xml.etree.ElementTree import Element

from core.metrics.reports.markup import element

_WIDTH, _HEIGHT = 480, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 14, 10, 42
_MOST_POINTS = 600
"""Points that are drawn of a curve. Stored ones have fewer (core.metrics.video.curves), so that each of their peaks is
seen."""
_FEWEST_TICKS = 2
_SAME = 1e-9
"""Values that differ by less, as a share, are equal: means of equal values differ by their rounding."""

Point = tuple[float, float | None]
"""(frame, value); None is a gap."""
T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels along one axis, with round numbers for its ticks."""

    low: float
    high: float
    start_pixel: float
    end_pixel: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start_pixel + share * (self.end_pixel - self.start_pixel), 1)

    def ticks(self, number: int) -> list[float]:
        """About so many round numbers within the axis, at least two, as one number tells no scale."""
        while True:
            step = _round_step((self.high - self.low) / number)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            if last - first + 1 >= _FEWEST_TICKS:
                return [index * step for index in range(first, last + 1)]
            number += 1


def line_plot(
    points: Sequence[Point],
    num_frames: int,
    *,
    described: str,
    y_label: str,
    band: Sequence[tuple[Point, Point]] = (),
    reaching: Sequence[float] = (),
) -> Element:
    """A curve over frames 0 to `num_frames`; `band`: lower and upper ends of a shaded range.

    `described` is read out instead of the picture; `y_label` stands beside the vertical axis. The axis covers the
    values of `reaching`, too: those of all plots that are to be compared by eye.
    """
    drawn = _thinned(points)
    shaded = _thinned_band(band)
    levels = [value for _, value in [*drawn, *(end for ends in shaded for end in ends)] if value is not None]
    levels.extend(reaching)
    x, y = _x_scale(num_frames), Scale(*_range_of(levels), _HEIGHT - _BOTTOM, _TOP)
    plot = _frame(described)
    _draw_y_axis(plot, y)
    _draw_x_axis(plot, x)
    plot.append(_turned(y_label))
    if shaded:
        upper = [f"{x(frame)},{y(value)}" for _, (frame, value) in shaded if value is not None]
        lower = [f"{x(frame)},{y(value)}" for (frame, value), _ in reversed(shaded) if value is not None]
        plot.append(element("polygon", class_="band", points=" ".join([*upper, *lower])))
    for run in _runs(drawn):
        if len(run) == 1:
            plot.append(element("circle", class_="dot", cx=x(run[0][0]), cy=y(run[0][1]), r=2.5))
        else:
            path = " ".join(f"{x(frame)},{y(value)}" for frame, value in run)
            plot.append(element("polyline", class_="curve", points=path))
    return plot


def picture_plot(jpeg: bytes, num_frames: int, *, described: str, y_label: str) -> Element:
    """A picture whose columns are moments, over the same axis of frames as the curves."""
    plot = _frame(described)
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    fitted = element("image", x=_LEFT, y=_TOP, width=width, height=height, href=source)
    fitted.set("preserveAspectRatio", "none")
    plot.append(fitted)
    _draw_x_axis(plot, _x_scale(num_frames))
    plot.append(_turned(y_label))
    return plot


def _frame(described: str) -> Element:
    plot = element("svg", class_="plot", role="img", aria_label=described)
    plot.set("viewBox", f"0 0 {_WIDTH} {_HEIGHT}")
    return plot


def _x_scale(num_frames: int) -> Scale:
    return Scale(0, max(num_frames, 1), _LEFT, _WIDTH - _RIGHT)


def _draw_x_axis(plot: Element, x: Scale) -> None:
    floor = _HEIGHT - _BOTTOM
    plot.append(element("line", class_="axis", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=floor, y2=floor))
    for frame in x.ticks(8):
        if frame == int(frame):
            plot.append(element("line", class_="axis", x1=x(frame), x2=x(frame), y1=floor, y2=floor + 4))
            plot.append(element("text", f"{frame:.0f}", class_="tick middle", x=x(frame), y=floor + 18))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    plot.append(element("text", "frame", class_="label middle", x=middle, y=_HEIGHT - 5))


def _draw_y_axis(plot: Element, y: Scale) -> None:
    levels = y.ticks(4)
    for level, text in zip(levels, _texts(levels), strict=True):
        plot.append(element("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(level), y2=y(level)))
        plot.append(element("text", text, class_="tick end", x=_LEFT - 6, y=y(level) + 4))


def _texts(levels: Sequence[float]) -> list[str]:
    """The shortest texts of levels that differ, with equally many decimals."""
    written = ([f"{level:.{digits}g}" for level in levels] for digits in range(6, 18))
    texts = next((texts for texts in written if len(set(texts)) == len(levels)), [f"{level:.17g}" for level in levels])
    if any("e" in text for text in texts):
        return texts
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return [f"{level:.{decimals}f}" for level in levels]


def _turned(label: str) -> Element:
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    return element("text", label, class_="label middle turned", transform=f"translate(12 {middle:g}) rotate(-90)")


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most _MOST_POINTS: of each few neighbours the mean, or a gap where all of them are gaps."""
    return [(_place(part), mean_of([value for _, value in part])) for part in _parts(points)]


def _thinned_band(band: Sequence[tuple[Point, Point]]) -> list[tuple[Point, Point]]:
    """At most _MOST_POINTS: of each few neighbours the lowest and the highest end."""
    thinned: list[tuple[Point, Point]] = []
    for part in _parts(band):
        place = _place([lower for lower, _ in part])
        lowest = min((value for (_, value), _ in part if value is not None), default=None)
        highest = max((value for _, (_, value) in part if value is not None), default=None)
        thinned.append(((place, lowest), (place, highest)))
    return thinned


def _parts(drawn: Sequence[T]) -> list[Sequence[T]]:
    step = -(-len(drawn) // _MOST_POINTS) or 1
    return [drawn[start : start + step] for start in range(0, len(drawn), step)]


def _place(part: Sequence[Point]) -> float:
    """The middle of several points."""
    return (part[0][0] + part[-1][0]) / 2


def mean_of(values: Sequence[float | None]) -> float | None:
    """Of those that are known; None without any."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _runs(points: Sequence[Point]) -> Iterator[list[tuple[float, float]]]:
    """The parts of a curve between its gaps."""
    run: list[tuple[float, float]] = []
    for frame, value in points:
        if value is not None:
            run.append((frame, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _range_of(values: Sequence[float]) -> tuple[float, float]:
    """From 0 where that is near, else a little more than the values' range."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low <= _SAME * max(abs(low), abs(high)):
        margin = abs(low) * 0.1 or 1.0
        return (low - margin if low < 0 else 0.0), high + margin
    margin = (high - low) * 0.08
    return (0.0 if 0 <= low < high / 2 else low - margin), (0.0 if low < high / 2 <= 0 else high + margin)


def _round_step(least: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
