"""Intervals over clips: they narrow with more clips, hold what is sure, and bear figures that are ratios."""

import numpy as np
import pytest

from core.model.evaluation.bootstrap import Values, interval


def means(values: Values) -> Values:
    return values


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = interval(values, means)
    error = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.02)


def test_clips_that_agree_leave_no_doubt() -> None:
    found = interval(np.full(10, 3.0), means)
    assert (found.value, found.low, found.high) == (3, 3, 3)
    assert str(found) == "3 (3 to 3)"


def test_a_ratio_is_that_of_the_means_and_not_the_mean_of_ratios() -> None:
    pairs = np.array([[1.0, 1.0], [3.0, 1.0]])
    found = interval(pairs, lambda mean: mean[:, 1] / mean[:, 0])
    assert (found.value, found.low, found.high) == (0.5, pytest.approx(1 / 3), 1)


def test_a_ratio_that_some_samples_do_not_have_is_that_of_the_others() -> None:
    pairs = np.array([[0.0, 1.0], [2.0, 1.0]])
    with np.errstate(divide="ignore"):
        found = interval(pairs, lambda mean: mean[:, 1] / mean[:, 0])
    assert (found.low, found.high) == (0.5, 1)
