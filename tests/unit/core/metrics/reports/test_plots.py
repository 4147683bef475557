"""Plots: axes with round numbers, curves with gaps, a range behind them."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from core.metrics.reports.plots import Point, Scale, line_plot, picture_plot


def points(*values: float | None) -> list[Point]:
    return [(float(frame), value) for frame, value in enumerate(values)]


def drawn(*values: float | None, band: list[tuple[Point, Point]] | None = None) -> Element:
    return line_plot(points(*values), max(len(values), 1), described="told", y_label="Flow (pixels)", band=band or [])


def texts(plot: Element) -> list[str]:
    return [text.text or "" for text in plot.iter("text")]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 5, 10]), (0, 0.37, [0, 0.1, 0.2, 0.3]), (-30, 30, [-20, 0, 20]), (97.2, 103.1, [98, 100, 102])],
)
def test_ticks_are_round_numbers_within_the_axis(low: float, high: float, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 100).ticks(4) == pytest.approx(ticks)


@pytest.mark.parametrize("ratio", [1.01, 1.2, 1.25, 2.01, 2.4, 3.9, 5.1, 9.99])
@pytest.mark.parametrize("low", [0.0, 0.91, 49.7, -3.3])
def test_an_axis_has_two_numbers_or_more(low: float, ratio: float) -> None:
    ticks = Scale(low, low + ratio, 0, 100).ticks(4)
    assert len(ticks) >= 2
    assert all(low - 1e-6 <= tick <= low + ratio + 1e-6 for tick in ticks)


def test_neighbouring_numbers_of_an_axis_differ() -> None:
    plot = drawn(123456.78, 123456.79)
    levels = [text.text for text in plot.iter("text") if text.get("class") == "tick end"]
    assert len(levels) >= 2
    assert len(set(levels)) == len(levels)


def test_a_scale_maps_both_ends() -> None:
    scale = Scale(2, 4, 190, 10)
    assert (scale(2), scale(3), scale(4)) == (190, 100, 10)


def test_a_plot_has_axes_a_label_and_words_for_those_who_do_not_see_it() -> None:
    plot = drawn(0.0, 5.0, 10.0)
    assert {"frame", "Flow (pixels)", "0", "1", "2", "5", "10"} <= set(texts(plot))
    assert (plot.get("role"), plot.get("aria-label")) == ("img", "told")


def test_plots_that_are_to_be_compared_have_one_axis() -> None:
    flat, steep = (points(*values) for values in ((4.0, 4.1), (1.0, 9.0)))
    flat_plot, steep_plot = (
        line_plot(curve, 2, described="told", y_label="Flow (pixels)", reaching=(1.0, 9.0)) for curve in (flat, steep)
    )
    assert texts(flat_plot) == texts(steep_plot)
    assert texts(flat_plot) != texts(line_plot(flat, 2, described="told", y_label="Flow (pixels)"))


def test_a_gap_cuts_a_curve_and_a_lonely_point_is_a_dot() -> None:
    plot = drawn(1.0, 2.0, None, 3.0)
    [curve] = plot.findall("polyline")
    assert len((curve.get("points") or "").split()) == 2
    assert len(plot.findall("circle")) == 1


@pytest.mark.parametrize("values", [(), (None, None), (0.0, 0.0), (5.0, 5.0), (-2.0, -2.0), (-3.0, -1.0), (1e-9, 2e9)])
def test_any_values_fit_into_the_picture(values: tuple[float | None, ...]) -> None:
    plot = drawn(*values)
    for curve in plot.findall("polyline"):
        pairs = [pair.split(",") for pair in (curve.get("points") or "").split()]
        heights = [float(height) for _, height in pairs]
        assert all(74 <= float(place) <= 480 - 14 for place, _ in pairs)
        assert all(10 <= height <= 148 for height in heights)
    assert len(plot.findall("polyline")) == (1 if values and values[0] is not None else 0)


def test_a_long_curve_is_drawn_with_few_points() -> None:
    [curve] = drawn(*(float(number) for number in range(5000))).findall("polyline")
    assert 500 <= len((curve.get("points") or "").split()) <= 600


def test_a_range_is_shaded_behind_the_curve() -> None:
    band: list[tuple[Point, Point]] = [((0.0, 0.0), (0.0, 4.0)), ((1.0, 1.0), (1.0, 5.0))]
    plot = drawn(2.0, 3.0, band=band)
    shapes = [part.tag for part in plot if part.tag in {"polygon", "polyline"}]
    assert shapes == ["polygon", "polyline"]


def test_a_picture_has_the_same_axis_of_frames_as_a_curve() -> None:
    picture, curve = picture_plot(b"jpeg", 48, described="told", y_label="x"), drawn(*([1.0] * 48))
    ticks = [
        [each.get("x") for each in plot.iter("text") if each.get("class") == "tick middle"] for plot in (picture, curve)
    ]
    assert ticks[0] == ticks[1]
    image = picture.find("image")
    assert image is not None
    assert image.get("href") == "data:image/jpeg;base64,anBlZw=="


def test_a_long_range_keeps_its_peaks() -> None:
    """One frame of 5000 that is far above the others."""
    band: list[tuple[Point, Point]] = [
        ((float(frame), 0.0), (float(frame), 100.0 if frame == 2501 else 1.0)) for frame in range(5000)
    ]
    [shape] = drawn(*([0.5] * 5000), band=band).findall("polygon")
    heights = [float(pair.split(",")[1]) for pair in (shape.get("points") or "").split()]
    assert min(heights) == pytest.approx(148 - 138 * 100 / 108, abs=0.1)
