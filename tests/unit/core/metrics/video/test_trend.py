"""Quarters, means and slopes of values one by one, against numpy over all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.metrics.video.curves import MOST_POINTS
from core.metrics.video.trend import Trend, difference, doublings


def trend_of(values: list[float]) -> Trend:
    trend = Trend()
    for value in values:
        trend.add(value)
    return trend


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=MOST_POINTS))
def test_up_to_the_size_of_a_curve_all_is_exact(values: list[float]) -> None:
    trend, quarter = trend_of(values), max(1, len(values) // 4)
    assert trend.mean() == pytest.approx(np.mean(values), abs=1e-9)
    assert trend.quarters() == pytest.approx((np.mean(values[:quarter]), np.mean(values[-quarter:])), abs=1e-9)
    assert trend.slope() == pytest.approx(100 * np.polyfit(range(len(values)), values, 1)[0], abs=1e-6, rel=1e-9)


@pytest.mark.parametrize("count", [MOST_POINTS + 1, MOST_POINTS + 2, 1500, 20_001])
def test_a_line_keeps_its_slope_and_quarters_at_any_length(count: int) -> None:
    trend = trend_of([0.25 * number for number in range(count)])
    assert trend.slope() == pytest.approx(25)
    quarter = count // 4
    # A step that a quarter's end cuts counts by its mean: at most half a step off at one end.
    tolerance = trend.curve().step * 0.25
    assert trend.quarters() == pytest.approx(
        (0.25 * (quarter - 1) / 2, 0.25 * (count - (quarter + 1) / 2)), abs=tolerance
    )


@pytest.mark.parametrize("count", [700, 5000])
def test_long_noise_is_near_what_all_values_say(count: int) -> None:
    values = np.random.default_rng(count).normal(1, 0.1, count) + np.linspace(0, 1, count)
    trend = trend_of(list(values))
    assert trend.mean() == pytest.approx(values.mean(), abs=1e-9)
    assert trend.slope() == pytest.approx(100 * np.polyfit(range(count), values, 1)[0], rel=0.01)
    assert trend.quarters() == pytest.approx((values[: count // 4].mean(), values[-(count // 4) :].mean()), abs=0.01)


def test_below_two_values_there_is_no_trend() -> None:
    assert (trend_of([]).mean(), trend_of([]).quarters(), trend_of([]).slope()) == (None, None, None)
    assert (trend_of([3]).mean(), trend_of([3]).quarters(), trend_of([3]).slope()) == (3, None, None)


def test_changes_from_the_first_quarter_to_the_last() -> None:
    assert difference((2, 5)) == 3
    assert doublings((2, 8), 0.5) == 2
    assert doublings((8, 2), 0.5) == -2
    assert doublings((2, 0), 0.5) == -2
    assert doublings((0, 2), 0.5) == 2
    assert doublings((0.4, 0.2), 0.5) is None
    assert (difference(None), doublings(None, 1)) == (None, None)
