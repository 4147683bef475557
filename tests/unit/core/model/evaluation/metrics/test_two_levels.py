"""Intervals of means over seeds and videos, and the quantiles they need."""

import math

import numpy as np
import pytest

from core.metrics.bootstrap import Values
from core.model.evaluation.metrics.student import t_bound
from core.model.evaluation.metrics.two_levels import two_level_interval


def crossed(seeds: int, videos: int, between_seeds: float, rest: float, seed: int = 1) -> Values:
    """Values about 5 with these standard deviations between seeds, and of single measurements."""
    rng = np.random.default_rng(seed)
    return 5 + between_seeds * rng.normal(size=(seeds, 1)) + rest * rng.normal(size=(seeds, videos))


@pytest.mark.parametrize(
    ("freedom", "bound"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980), (1e9, 1.960)],
)
def test_bounds_are_those_of_the_table(freedom: float, bound: float) -> None:
    assert t_bound(freedom) == pytest.approx(bound, abs=6e-4)


def test_a_bound_of_another_share_is_that_of_the_table() -> None:
    assert t_bound(4, 0.99) == pytest.approx(4.604, abs=6e-4)


def test_three_seeds_that_disagree_have_an_interval_of_two_degrees_of_freedom() -> None:
    found = two_level_interval(np.array([[0.0] * 20, [1.0] * 20, [2.0] * 20]))
    assert (found.value, found.low, found.high) == (1, pytest.approx(-1.484, abs=0.01), pytest.approx(3.484, abs=0.01))


@pytest.mark.parametrize(("between_seeds", "rest"), [(1.0, 0.1), (1.0, 2.0), (0.0, 1.0)])
def test_intervals_of_three_seeds_miss_the_mean_in_a_twentieth_at_most(between_seeds: float, rest: float) -> None:
    intervals = [two_level_interval(crossed(3, 20, between_seeds, rest, seed)) for seed in range(400)]
    assert np.mean([not found.low <= 5 <= found.high for found in intervals]) < 0.08


def test_equal_seeds_have_the_interval_of_the_videos_alone() -> None:
    videos = np.random.default_rng(0).normal(5, 2, 100)
    both, alone = two_level_interval(np.tile(videos, (3, 1))), two_level_interval(videos[None])
    half = 1.984 * videos.std(ddof=1) / 10
    assert (both.low, both.high) == pytest.approx((videos.mean() - half, videos.mean() + half), abs=0.01)
    assert (alone.low, alone.high) == pytest.approx((both.low, both.high))


def test_one_video_has_the_interval_of_the_seeds() -> None:
    found = two_level_interval(np.array([[0.0], [1.0], [2.0]]))
    assert found.low == pytest.approx(-1.484, abs=0.01)


def test_a_single_measurement_has_no_interval() -> None:
    found = two_level_interval(np.array([[3.0]]))
    assert (found.value, found.is_known, str(found)) == (3, False, "3 (no interval)")
    assert math.isnan(found.low)


def test_missing_values_are_left_out() -> None:
    values = crossed(3, 40, 0.1, 0.1)
    values[0, :30] = np.nan
    found = two_level_interval(values)
    assert found.value == pytest.approx(np.nanmean(values))
    assert 4.5 < found.low < found.value < found.high < 5.5
