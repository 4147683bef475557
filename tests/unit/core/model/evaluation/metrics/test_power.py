"""Parts of the variance over seeds and videos, and the experiment that an observed effect requires."""

import numpy as np
import pytest

from core.metrics.bootstrap import Values
from core.model.evaluation.metrics.power import complete_videos, required_size, variance_parts


def crossed(seeds: int, videos: int, mean: float, between_seeds: float, between_videos: float, rest: float) -> Values:
    """Normal values with this mean and these standard deviations."""
    rng = np.random.default_rng(0)
    seed_parts, video_parts = rng.normal(size=(seeds, 1)), rng.normal(size=videos)
    return mean + between_seeds * seed_parts + between_videos * video_parts + rest * rng.normal(size=(seeds, videos))


def test_the_parts_of_the_variance_are_found() -> None:
    parts = variance_parts(crossed(400, 300, 0.0, 1.0, 2.0, 3.0))
    assert (parts.seeds, parts.videos, parts.rest) == (
        pytest.approx(1, rel=0.2),
        pytest.approx(4, rel=0.2),
        pytest.approx(9, rel=0.05),
    )


def test_one_seed_does_not_show_the_variance_of_training() -> None:
    values = crossed(1, 50, 1.0, 0.0, 1.0, 0.0)
    parts = variance_parts(values)
    assert (parts.seeds, parts.videos) == (None, pytest.approx(values.var(ddof=1)))
    assert required_size(values) is None


def test_the_seeds_required_account_for_the_few_degrees_of_freedom() -> None:
    """Of seeds alone with mean 1 and standard deviation 1, ten: 2.262 + 0.84 < sqrt(10), but 2.306 + 0.84 > sqrt(9)."""
    size = required_size(np.array([[0.0] * 5, [1.0] * 5, [2.0] * 5]))
    assert size is not None
    assert (size.seeds, size.videos, size.both) == (10, None, (10, 17))


def test_an_experiment_of_the_required_size_is_the_smallest() -> None:
    values = crossed(3, 20, 1.0, 0.3, 0.5, 4.0)
    parts, size, mean = variance_parts(values), required_size(values), float(values.mean())
    assert size is not None
    assert size.seeds is not None
    assert size.videos is not None
    assert parts.excludes_0(mean, size.seeds, 20)
    assert not parts.excludes_0(mean, size.seeds - 1, 20)
    assert parts.excludes_0(mean, 3, size.videos)
    assert not parts.excludes_0(mean, 3, size.videos - 1)


def test_no_number_of_videos_makes_up_for_seeds_that_differ() -> None:
    values = np.array([[1.0, 1.1, 0.9], [-1.0, -1.1, -0.9], [0.4, 0.5, 0.3]])
    size = required_size(values)
    assert size is not None
    assert size.videos is None
    assert size.seeds is not None
    assert size.seeds > 3


def test_no_number_of_seeds_makes_up_for_few_videos_that_differ() -> None:
    size = required_size(np.array([[1.0, -1.0, 0.3, 0.1]] * 3))
    assert size is not None
    assert size.seeds is None
    assert size.videos is not None
    assert size.videos > 4


def test_no_experiment_follows_from_a_difference_of_0() -> None:
    assert required_size(np.array([[1.0, -1.0], [-1.0, 1.0]])) is None


def test_equal_differences_require_the_fewest() -> None:
    size = required_size(np.ones((3, 5)))
    assert size is not None
    assert (size.seeds, size.videos, size.both) == (2, 2, (2, 4))


def test_videos_with_a_missing_value_are_left_out() -> None:
    values = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
    assert complete_videos(values).tolist() == [[1, 3], [4, 6]]
