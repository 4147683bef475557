"""Bootstrap intervals over clips, of means and of ratios."""

import numpy as np
import pytest

from core.model.evaluation.metrics.bootstrap import Values, interval, two_level_interval


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


def crossed(seeds: int, videos: int, between_seeds: float, rest: float) -> Values:
    """Values with these standard deviations between seeds, and of single measurements."""
    rng = np.random.default_rng(1)
    return 5 + between_seeds * rng.normal(size=(seeds, 1)) + rest * rng.normal(size=(seeds, videos))


def test_two_levels_of_equal_seeds_have_the_interval_of_the_videos_alone() -> None:
    videos = np.random.default_rng(0).normal(5, 2, 100)
    both, alone = two_level_interval(np.tile(videos, (3, 1))), interval(videos, means)
    assert both.value == pytest.approx(alone.value)
    assert (both.low, both.high) == pytest.approx((alone.low, alone.high), abs=0.03)


def test_the_variance_between_seeds_widens_the_interval_by_its_standard_error() -> None:
    values = crossed(seeds=30, videos=50, between_seeds=1.0, rest=0.01)
    found = two_level_interval(values)
    error = 1.96 * values.mean(axis=1).std(ddof=1) / np.sqrt(30)
    assert found.high - found.low == pytest.approx(2 * error, rel=0.1)
    assert found.high - found.low > 3 * (interval(values.mean(axis=0), means).high - values.mean())


def test_three_seeds_do_not_understate_the_variance_between_seeds() -> None:
    values = np.array([[0.0] * 20, [1.0] * 20, [2.0] * 20])
    found = two_level_interval(values)
    assert (found.value, found.low, found.high) == (1, 0, 2)


def test_one_seed_is_an_interval_over_videos() -> None:
    videos = np.random.default_rng(0).normal(5, 2, 100)
    assert two_level_interval(videos[None]).low == pytest.approx(interval(videos, means).low, abs=0.03)


def test_missing_values_are_left_out_of_every_resample() -> None:
    values = crossed(3, 40, 0.1, 0.1)
    values[0, :30] = np.nan
    found = two_level_interval(values)
    assert found.value == pytest.approx(np.nanmean(values))
    assert 4.5 < found.low < found.value < found.high < 5.5
