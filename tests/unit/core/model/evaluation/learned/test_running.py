"""Mean, prefix means and slope in one pass equal numpy's over all scores at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.model.evaluation.learned.running import RunningScore

scores = st.lists(st.floats(-100, 100), min_size=2, max_size=60)


def running(values: list[float], frames_each: int = 1, prefixes: tuple[int, ...] = ()) -> RunningScore:
    score = RunningScore(frames_each, prefixes)
    for value in values:
        score.add(value)
    return score


@given(scores)
@settings(deadline=None)
def test_slope_is_that_of_the_least_squares_line(values: list[float]) -> None:
    expected = 100 * np.polyfit(np.arange(len(values)), values, 1)[0]
    assert running(values).slope() == pytest.approx(expected, abs=1e-6)


@given(scores)
@settings(deadline=None)
def test_mean_and_prefix_means(values: list[float]) -> None:
    score = running(values, prefixes=(2, len(values), len(values) + 1))
    assert score.mean() == pytest.approx(np.mean(values), abs=1e-9)
    prefix = score.prefix_means()
    assert prefix[2] == pytest.approx(np.mean(values[:2]), abs=1e-9)
    assert prefix[len(values)] == score.mean()
    if len(values) > 2:
        assert prefix[len(values) + 1] is None


def test_scores_of_chunks_are_placed_at_the_chunks_frames() -> None:
    score = running([10, 12, 14], frames_each=16, prefixes=(32,))
    assert score.slope() == pytest.approx(100 * 2 / 16)
    assert score.prefix_means() == {32: pytest.approx(11)}
    assert len(score.curve().values) * score.curve().step == 48


def test_equal_scores_have_no_slope_at_all() -> None:
    assert running([31.73] * 1000).slope() == 0
    assert running([31.73]).slope() is None
    assert running([]).mean() is None
