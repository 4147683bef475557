"""Curves are means over equal steps, and bounded however long the video is."""

from __future__ import annotations

import pytest

from core.metrics.video.curves import MOST_POINTS, CurveBuilder


def _built(count: int) -> CurveBuilder:
    builder = CurveBuilder()
    for number in range(count):
        builder.add(float(number))
    return builder


def test_a_short_curve_has_every_value() -> None:
    curve = _built(5).curve()
    assert (curve.step, list(curve.values)) == (1, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("count", [MOST_POINTS, MOST_POINTS + 1, MOST_POINTS + 2, 5000, 54_321])
def test_a_long_curve_has_means_over_equal_steps(count: int) -> None:
    curve = _built(count).curve()
    assert len(curve.values) <= MOST_POINTS + 2
    for index, value in enumerate(curve.values):
        numbers = range(index * curve.step, min(count, (index + 1) * curve.step))
        assert value == pytest.approx(sum(numbers) / len(numbers))
    assert (len(curve.values) - 1) * curve.step < count <= len(curve.values) * curve.step
