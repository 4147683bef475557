"""How the tolerance text of a sidecar is read."""

from typing import Any

import pytest

from tests.golden.folder import GoldenError
from tests.golden.tolerance import Tolerance, tolerance_of

NETWORK = "abs 1e-4 on noise predictions, 1e-3 on features (feature std 2..6)"
LOOP = "chunk 1 latents 2e-4 abs (a re-run: 0.0); chunk 2: a 4e-7 difference grows to 2e-3 (std 6.6), so use 2e-2 there"


@pytest.mark.parametrize(
    ("stated", "subjects", "bound"),
    [
        ("1e-5", [], 1e-5),
        (0.25, [], 0.25),
        (NETWORK, ["noise predictions"], 1e-4),
        (NETWORK, ["features"], 1e-3),
        (NETWORK, ["something else"], 1e-4),
        (LOOP, ["chunk 1"], 2e-4),
        (LOOP, ["chunk 2", "chunk 1"], 2e-2),
        (LOOP, ["chunk 3", "chunk 2", "chunk 1"], 2e-2),
        ("warped exact; the rest 1e-5", ["warped"], 0.0),
    ],
)
def test_the_clause_that_names_the_subject_counts_else_the_strictest(
    stated: str | float, subjects: list[str], bound: float
) -> None:
    assert tolerance_of({"tolerance": stated}, "out.x", subjects) == Tolerance(bound)


def test_a_clause_may_be_relative() -> None:
    sidecar = {"tolerance": "warped and mask exact; MAWE rel 1e-5"}
    assert tolerance_of(sidecar, "out.mawe", ["MAWE"]) == Tolerance(1e-5, relative=True)
    assert tolerance_of(sidecar, "out.warped", ["warped"]) == Tolerance(0.0)


def test_a_tensor_may_have_its_own() -> None:
    sidecar = {"tolerance": "1e-5", "tensors": {"out.x": {"tolerance": 0.5}}}
    assert tolerance_of(sidecar, "out.x", []) == Tolerance(0.5)
    assert tolerance_of(sidecar, "out.y", []) == Tolerance(1e-5)


@pytest.mark.parametrize("sidecar", [{}, {"tolerance": "as close as you can"}])
def test_without_a_number_there_is_no_verdict(sidecar: dict[str, Any]) -> None:
    with pytest.raises(GoldenError):
        tolerance_of(sidecar, "out.x", [])
