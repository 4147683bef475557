"""Tolerance of a tensor, from its sidecar only.

The rule, in this order:
1. `tensors.NAME.tolerance`, where it is a number;
2. `tolerance` of the sidecar, where it is a number, for every tensor;
3. `tolerance` as text: remarks in parentheses are dropped, the rest is cut into clauses at every semicolon and at every
   comma that a number follows. A clause's bound is its last number (1e-4, 0.001; "exact" is 0). For a tensor the clause
   counts that names its subject ("noise predictions", "features", "chunk 2"); of several subjects the first that is
   named; where none is, the strictest clause.
All bounds are on the largest absolute difference.
"""

import re
from collections.abc import Sequence
from typing import Any

from tests.golden.folder import GoldenError

_BOUND = re.compile(r"\d+(?:\.\d+)?e-?\d+|\d+\.\d+|\bexact\b")


def tolerance_of(sidecar: dict[str, Any], tensor: str, subjects: Sequence[str]) -> float:
    """The bound for a tensor that `subjects` describe, most specific first. Raises GoldenError if there is none."""
    own = sidecar.get("tensors", {}).get(tensor, {}).get("tolerance")
    stated = sidecar.get("tolerance") if own is None else own
    if isinstance(stated, int | float):
        return float(stated)
    if not isinstance(stated, str):
        raise GoldenError(f"no tolerance for {tensor}")
    clauses = _clauses(stated)
    for subject in subjects:
        named = [bound for text, bound in clauses if subject in text]
        if named:
            return min(named)
    if not clauses:
        raise GoldenError(f"no number in the tolerance {stated!r}")
    return min(bound for _, bound in clauses)


def _clauses(text: str) -> list[tuple[str, float]]:
    """Clauses that hold a bound, with it."""
    pieces = re.split(r";|,\s*(?=\d)", re.sub(r"\([^)]*\)", "", text))
    found = [(piece, _BOUND.findall(piece)) for piece in pieces]
    return [(piece, 0.0 if bounds[-1] == "exact" else float(bounds[-1])) for piece, bounds in found if bounds]
