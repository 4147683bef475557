"""Formulas of sidecars are arithmetic and nothing else."""

import pytest
import torch

from tests.golden.folder import GoldenError
from tests.golden.formula import evaluate


def test_arithmetic_over_tensors() -> None:
    i = torch.arange(3, dtype=torch.float64)
    assert evaluate("sin(0.5*i*(2+1))/2 - -1", {"i": i}).tolist() == (torch.sin(1.5 * i) / 2 + 1).tolist()


@pytest.mark.parametrize("formula", ["__import__('os')", "i.data", "open(i)", "i if i else 0", "k", "1 +"])
def test_anything_else_is_refused(formula: str) -> None:
    with pytest.raises(GoldenError):
        evaluate(formula, {"i": torch.ones(1)})
