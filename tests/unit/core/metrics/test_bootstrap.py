"""Bootstrap intervals over clips, of means and of ratios."""

import numpy as np
import pytest

from core.metrics.bootstrap import Values, interval


def means(values: Values) -> Values:
    return values


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = interval(values, means)
    error = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.02)


def test_equal_clips_give_an_interval_of_width_0() -> None:
    found = interval(np.full(10, 3.0), means)
    assert (found.value, found.low, found.high) == (3, 3, 3)
    assert str(found) == "3 (3 to 3)"


def test_a_ratio_is_computed_from_means() -> None:
    pairs = np.array([[1.0, 1.0], [3.0, 1.0]])
    found = interval(pairs, lambda mean: mean[:, 1] / mean[:, 0])
    assert (found.value, found.low, found.high) == (0.5, pytest.approx(1 / 3), 1)


def test_infinite_ratios_are_left_out() -> None:
    pairs = np.array([[0.0, 1.0], [2.0, 1.0]])
    with np.errstate(divide="ignore"):
        found = interval(pairs, lambda mean: mean[:, 1] / mean[:, 0])
    assert (found.low, found.high) == (0.5, 1)
