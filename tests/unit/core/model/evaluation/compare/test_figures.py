"""Figures as texts beside published ones."""

from __future__ import annotations

import math

import pytest

from core.metrics.bootstrap import Interval
from core.model.evaluation.compare.figures import figure, with_interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1298.4, "1298.40"),
        (32.16, "32.16"),
        (-1.5, "-1.50"),
        (0.08431, "0.0843"),
        (0.000047, "0.0000470"),
        (0.14, "0.140"),
        (0.0, "0"),
        (-2e-16, "0"),
        (2, "2"),
        (math.inf, "inf"),
    ],
)
def test_figures_have_the_digits_of_published_ones_and_no_exponent(value: float, text: str) -> None:
    assert figure(value) == text


def test_an_interval_stands_behind_its_figure() -> None:
    assert with_interval(Interval(32.16, 31.9, 32.4)) == "32.16 (31.90 to 32.40)"
    assert with_interval(Interval(32.16, math.nan, math.nan)) == "32.16 (no interval)"
