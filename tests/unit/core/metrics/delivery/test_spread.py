"""Percentiles are values that were measured; fairness is 1 among equals."""

from __future__ import annotations

import pytest

from core.metrics.delivery.spread import Spread, jain, percentile


def test_percentiles_are_of_the_values() -> None:
    hundred = [float(value) for value in range(100, 0, -1)]
    assert [percentile(hundred, percent) for percent in (0, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert Spread.of(hundred) == Spread(100, 50.0, 95.0, 99.0, 100.0)


def test_of_few_values_high_percentiles_are_the_largest() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(3, 2.0, 3.0, 3.0, 3.0)
    assert Spread.of([]) is None


def test_jain_is_1_for_equals_and_1_of_n_if_one_has_all() -> None:
    assert jain([2.0, 2.0, 2.0]) == jain([0.0, 0.0]) == 1.0
    assert jain([0.0, 0.0, 5.0]) == pytest.approx(1 / 3)
