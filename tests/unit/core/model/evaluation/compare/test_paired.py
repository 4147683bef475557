"""Paired differences, verdicts and ranks against cases that can be worked out by hand."""

import math

import numpy as np
import pytest

from core.model.evaluation.compare.paired import FEWEST_PROMPTS, LEVEL, chance_of, gain, mean, ranks


def by_prompt(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


@pytest.mark.parametrize(
    ("differences", "low", "value", "high"),
    [
        # All five drawn are 0 in 7.8 % of the resamples, at least four are 5 in 8.7 %, all in 1.0 %.
        ([0, 0, 0, 5, 5], 0, 2, 4),
        # All five are 0 in 32.8 %, at least three are 5 in 5.8 %, at least four in 0.7 %.
        ([0, 0, 0, 0, 5], 0, 1, 3),
    ],
)
def test_the_interval_of_paired_differences_is_that_worked_out_by_hand(
    differences: list[float], low: float, value: float, high: float
) -> None:
    worse = by_prompt(*(10.0 * prompt for prompt in range(len(differences))))
    better = {prompt: worse[prompt] + difference for prompt, difference in enumerate(differences)}
    found = gain(better, worse, higher_is_better=True)
    assert found.interval is not None
    assert (found.interval.low, found.interval.value, found.interval.high) == (low, value, high)


def test_pairing_sees_what_means_alone_hide() -> None:
    # Prompts differ by far more than methods do.
    better = by_prompt(*(100.0 * prompt + 1 for prompt in range(10)))
    worse = by_prompt(*(100.0 * prompt for prompt in range(10)))
    assert gain(better, worse, higher_is_better=True).verdict == "confirmed"


def test_only_prompts_of_both_count() -> None:
    found = gain({0: 5.0, 1: 7.0, 3: 100.0}, {0: 4.0, 1: 4.0, 2: -100.0}, higher_is_better=True)
    assert (found.prompts, found.interval and found.interval.value) == (2, 2)


def test_where_less_is_better_a_smaller_value_is_a_gain() -> None:
    found = gain(by_prompt(1, 1), by_prompt(3, 5), higher_is_better=False)
    assert found.interval is not None
    assert found.interval.value == 3


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([1, 2, 1, 2, 1, 2], "confirmed"),
        ([-1, -2, -1, -2, -1, -2], "reverse"),
        ([5, -5, 4, -4, 3, -3], "not clear"),
        ([0, 0, 0, 0, 0, 0], "too few differ"),
        # Of 50 prompts 5 differ, all one way: a bootstrap interval excludes 0, and chance does as much in 2 of 2**5.
        ([1] * 5 + [0] * 45, "too few differ"),
        ([1] * 6 + [0] * 44, "confirmed"),
        # One large value: the interval of the mean is (0.1 to 34), and a coin decides its sign.
        ([0.1, 0.1, 0.1, -0.1, 0.1, 0.1, 100], "not clear"),
        ([1, 2, 1, 2, 1], "too few differ"),
        ([1], "too few differ"),
        ([], "not measured"),
    ],
)
def test_verdicts_of_planted_orders(differences: list[float], verdict: str) -> None:
    zeros = by_prompt(*(0 for _ in differences))
    assert gain(by_prompt(*differences), zeros, higher_is_better=True).verdict == verdict


def test_where_many_videos_have_no_value_the_others_decide_nothing() -> None:
    """As MAWE of a method whose videos often stand still."""
    six, zeros = by_prompt(*[1.0] * 6), by_prompt(*[0.0] * 6)
    assert gain(six, zeros, 6, higher_is_better=True).verdict == "confirmed"
    of_fifty = gain(six, zeros, 50, higher_is_better=True)
    assert (of_fifty.prompts, of_fifty.left_out, of_fifty.verdict) == (6, 44, "too few measured")


def test_as_few_prompts_as_can_exclude_chance_decide() -> None:
    """All of n prompts agree by chance, one way or the other, in 2 of 2**n cases."""
    assert 2 / 2**FEWEST_PROMPTS < 0.05 < 2 / 2 ** (FEWEST_PROMPTS - 1)


@pytest.mark.parametrize(
    ("differences", "chance"),
    [
        ([1, 2, 3], 2 / 8),
        ([-1, -2, -3], 2 / 8),
        # Sums of +-1 +-2 +-3 as far from 0 as 1 + 2 - 3 = 0: all.
        ([1, 2, -3], 1),
        # As far as 1 - 2 + 3 = 2: 6, 4, 2 and the same below 0, which are 6 of the 8; the other two are 0.
        ([1, -2, 3], 6 / 8),
        ([0, 0, 5, 0], 1),
        ([0, 0], 1),
        ([0.1] * 10, 2 / 2**10),
    ],
)
def test_chances_worked_out_by_hand(differences: list[float], chance: float) -> None:
    assert chance_of(tuple(map(float, differences))) == chance


def test_of_many_prompts_the_chance_is_sampled_and_never_zero() -> None:
    assert chance_of((1.0,) * 50) == 1 / 10_000
    # As many up as down, by about as much: close to 1. The exact chance of a sum of 20 signs being 8 or more from 0 is
    # 2 * sum(comb(20, k) for k in range(14, 21)) / 2**20 = 0.1153.
    assert chance_of((1.0,) * 14 + (-1.0,) * 6) == pytest.approx(0.1153, abs=0.01)


def test_a_tie_is_called_decided_about_as_often_as_is_said() -> None:
    drawn = np.random.default_rng(5)
    for prompts in (6, 10, 50):
        called = [chance_of(tuple(drawn.normal(size=prompts))) <= LEVEL for _ in range(400)]
        assert np.mean(called) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("values", [[3.5], [3.0, 4.0], [3.0, 4.0, 3.0, 4.0]])
def test_so_few_videos_have_no_interval(values: list[float]) -> None:
    found = mean(values)
    assert found is not None
    assert found.value == 3.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_five_videos_have_an_interval_and_none_have_no_mean() -> None:
    found = mean([3.0, 4.0, 3.0, 4.0, 3.5])
    assert found is not None
    assert found.low < found.value == 3.5 < found.high
    assert mean([]) is None


@pytest.mark.parametrize(
    ("higher", "expected"),
    [(False, {"a": 1, "b": 2, "c": 2, "d": 4}), (True, {"a": 4, "b": 2, "c": 2, "d": 1})],
)
def test_equal_means_share_the_better_rank(higher: bool, expected: dict[str, int]) -> None:
    assert ranks({"a": 0.0, "b": 1.5, "c": 1.5, "d": 9.0}, higher_is_better=higher) == expected
