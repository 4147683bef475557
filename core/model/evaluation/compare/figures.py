"""Figures as texts, without exponents and with the digits by which they are compared with published ones."""

from __future__ import annotations

import math

from core.metrics.bootstrap import Interval

_DECIMALS = 2
"""Of values from 1 on, as published."""
_NOTHING = 1e-9
"""What is left of a zero by rounding is smaller."""
_DIGITS = 3
"""Of smaller ones, without the zeros before them."""


def figure(value: float | int) -> str:
    """Such as "1298.40", "32.16", "0.0843"; of whole numbers "2"."""
    if abs(value) < _NOTHING:
        return "0"
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    decimals = _DECIMALS if abs(value) >= 1 else _DIGITS - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{decimals}f}"


def with_interval(found: Interval) -> str:
    """Such as "0.0843 (0.0599 to 0.111)"."""
    bounds = f"{figure(found.low)} to {figure(found.high)}" if found.is_known else "no interval"
    return f"{figure(found.value)} ({bounds})"
