"""Charts of figures with intervals and targets, in the style of the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _QUIET, _RULE = (18, 20, 24), (238, 240, 243), (150, 156, 166), (48, 52, 60)
_HIT, _MISSED, _PLAIN, _TARGET = (96, 200, 130), (240, 128, 100), (120, 170, 240), (235, 205, 110)
_MARGIN, _LABEL_WIDTH, _AXIS_WIDTH, _VALUE_WIDTH = 28, 380, 460, 190
_ROW, _TITLE_HEIGHT, _PANEL_TITLE_HEIGHT, _PANEL_GAP = 26, 48, 50, 18
_TITLE_SIZE, _PANEL_TITLE_SIZE, _TEXT_SIZE = 24, 17, 14
_DOT = 5


@dataclass(frozen=True)
class Point:
    """One figure: a dot, a line for its interval and, if set, a tick for its target."""

    label: str
    value: float
    low: float
    high: float
    target: float | None = None
    is_met: bool | None = None


@dataclass(frozen=True)
class Panel:
    """Figures on one axis that starts at 0, or at its smallest value if that is negative."""

    title: str
    points: Sequence[Point]

    @property
    def start(self) -> float:
        """Start of the axis: 0, or a little beyond its smallest value."""
        return min(0.0, 1.08 * min(min(point.value, point.low) for point in self.points))

    @property
    def end(self) -> float:
        """End of the axis: a little beyond its largest value, and 1 for shares."""
        largest = max(max(point.value, point.high, point.target or 0.0) for point in self.points)
        if largest <= 0:
            return 0.0 if self.start else 1.0
        return 1.0 if 0.5 < largest <= 1.0 and not self.start else 1.08 * largest


def chart(title: str, panels: Sequence[Panel]) -> Image.Image:
    """All panels, one below the other. Green: target met; red: missed; yellow tick: target."""
    width = 2 * _MARGIN + _LABEL_WIDTH + _AXIS_WIDTH + _VALUE_WIDTH
    height = 2 * _MARGIN + _TITLE_HEIGHT + sum(_height(panel) for panel in panels)
    picture = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, _MARGIN), title, fill=_INK, font=_font(_TITLE_SIZE))
    top = _MARGIN + _TITLE_HEIGHT
    for panel in panels:
        _draw_panel(draw, panel, top)
        top += _height(panel)
    return picture


def _height(panel: Panel) -> int:
    return _PANEL_TITLE_HEIGHT + _ROW * len(panel.points) + _PANEL_GAP


def _draw_panel(draw: ImageDraw.ImageDraw, panel: Panel, top: int) -> None:
    draw.text((_MARGIN, top + 6), panel.title, fill=_INK, font=_font(_PANEL_TITLE_SIZE))
    left, right = _MARGIN + _LABEL_WIDTH, _MARGIN + _LABEL_WIDTH + _AXIS_WIDTH
    for x, text, anchor in ((left, f"{panel.start:.3g}", "ls"), (right, f"{panel.end:.3g}", "rs")):
        draw.text((x, top + _PANEL_TITLE_HEIGHT - 6), text, fill=_QUIET, font=_font(_TEXT_SIZE), anchor=anchor)
    for number, point in enumerate(panel.points):
        _draw_point(draw, point, panel, top + _PANEL_TITLE_HEIGHT + _ROW * number + _ROW // 2)


def _draw_point(draw: ImageDraw.ImageDraw, point: Point, panel: Panel, y: int) -> None:
    left = _MARGIN + _LABEL_WIDTH

    def x_of(value: float) -> int:
        share = (value - panel.start) / (panel.end - panel.start)
        return left + round(_AXIS_WIDTH * min(max(share, 0.0), 1.0))

    colour = {True: _HIT, False: _MISSED, None: _PLAIN}[point.is_met]
    draw.text((_MARGIN, y), point.label, fill=_INK, font=_font(_TEXT_SIZE), anchor="lm")
    draw.line((left, y, left + _AXIS_WIDTH, y), fill=_RULE)
    if panel.start < 0:
        draw.line((x_of(0.0), y - _ROW // 2, x_of(0.0), y + _ROW // 2), fill=_QUIET)
    draw.line((x_of(point.low), y, x_of(point.high), y), fill=colour, width=3)
    x = x_of(point.value)
    draw.ellipse((x - _DOT, y - _DOT, x + _DOT, y + _DOT), fill=colour)
    if point.target is not None:
        draw.line((x_of(point.target), y - 9, x_of(point.target), y + 9), fill=_TARGET, width=2)
    text = f"{point.value:.3g}  ({point.low:.3g} to {point.high:.3g})"
    draw.text((left + _AXIS_WIDTH + 16, y), text, fill=_QUIET, font=_font(_TEXT_SIZE), anchor="lm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
