"""Types of command-line arguments that the model half's programs share: a wrong value is named with what is wanted.

Knows numbers; knows no program.
"""

from __future__ import annotations

import argparse
import math


def whole(text: str) -> int:
    """A whole number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return number


def above_zero(text: str) -> float:
    """A number above 0, fractions included."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return number
