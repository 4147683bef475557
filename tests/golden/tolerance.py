"""Tolerance of a tensor, from its sidecar only.

The rule, in this order:
1. `tensors.NAME.tolerance`, where it is a number;
2. `tolerance` of the sidecar, where it is a number, for every tensor;
3. `tolerance` as text: remarks in parentheses are dropped, the rest is cut into clauses at every semicolon and at every
   comma that a number follows. A clause's bound is its last number (1e-4, 0.001; "exact" is 0). For a tensor the clause
   counts that names its subject ("noise predictions", "features", "chunk 2"); of several subjects the first that is
   named; where none is, the strictest clause.
A bound is on the largest absolute difference; in a clause with the word "rel" on the largest difference relative to the
stored number.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.golden.folder import GoldenError

_BOUND = re.compile(r"\d+(?:\.\d+)?e-?\d+|\d+\.\d+|\bexact\b")


_RELATIVE = re.compile(r"\brel\b")


@dataclass(frozen=True, order=True)
class Tolerance:
    """How far a tensor may be off."""

    bound: float
    relative: bool = False
    """To each stored number."""


def tolerance_of(sidecar: dict[str, Any], tensor: str, subjects: Sequence[str]) -> Tolerance:
    """That for a tensor that `subjects` describe, most specific first. Raises GoldenError if there is none."""
    own = sidecar.get("tensors", {}).get(tensor, {}).get("tolerance")
    stated = sidecar.get("tolerance") if own is None else own
    if isinstance(stated, int | float):
        return Tolerance(float(stated))
    if not isinstance(stated, str):
        raise GoldenError(f"no tolerance for {tensor}")
    clauses = _clauses(stated)
    for subject in subjects:
        named = [tolerance for text, tolerance in clauses if subject in text]
        if named:
            return min(named)
    if not clauses:
        raise GoldenError(f"no number in the tolerance {stated!r}")
    return min(tolerance for _, tolerance in clauses)


def _clauses(text: str) -> list[tuple[str, Tolerance]]:
    """Clauses that hold a bound, with it."""
    pieces = re.split(r";|,\s*(?=\d)", re.sub(r"\([^)]*\)", "", text))
    found = [(piece, _BOUND.findall(piece)) for piece in pieces]
    return [
        (piece, Tolerance(0.0 if bounds[-1] == "exact" else float(bounds[-1]), bool(_RELATIVE.search(piece))))
        for piece, bounds in found
        if bounds
    ]
