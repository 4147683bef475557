"""Compares a checkpoint's names, shapes and dtypes with those expected, and reports all mismatches at once."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from core.model.convert.expected import Expected
from core.model.convert.lazy_tensor import LazyTensor, Shape
from core.service.domain.errors import CheckpointMismatch

NUM_SHOWN = 20
"""Entries listed per kind of mismatch; a file of another model has thousands."""
_WEIGHT_DTYPES = frozenset({torch.float64, torch.float32, torch.bfloat16, torch.float16})
Tensors = Mapping[str, LazyTensor]
Sizes = TypeVar("Sizes")


@dataclass(frozen=True)
class Mismatches:
    """Mismatches by kind; each entry is a name with details."""

    missing: list[str] = field(default_factory=list[str])
    unexpected: list[str] = field(default_factory=list[str])
    misshapen: list[str] = field(default_factory=list[str])
    wrong_dtype: list[str] = field(default_factory=list[str])

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshapen) + len(self.wrong_dtype)


def find_mismatches(tensors: Tensors, expected: Expected) -> Mismatches:
    """All mismatches. Weights may have any floating-point dtype; they are converted to one dtype when written."""
    known = expected.required.keys() | expected.optional.keys()
    present = {name: tensors[name] for name in expected.required if name in tensors}
    return Mismatches(
        missing=[f"{name} {_show(shape)}" for name, shape in expected.required.items() if name not in tensors],
        unexpected=[f"{name} {_show(tensor.shape)}" for name, tensor in tensors.items() if name not in known],
        misshapen=[
            f"{name} {_show(tensor.shape)} instead of {_show(expected.required[name])}"
            for name, tensor in present.items()
            if tensor.shape != expected.required[name]
        ],
        wrong_dtype=[
            f"{name} {str(tensor.dtype).removeprefix('torch.')}"
            for name, tensor in present.items()
            if tensor.dtype not in _WEIGHT_DTYPES
        ],
    )


def resolve_sizes(
    inferred: Sizes, published: Sizes, describe: Callable[[Sizes], Expected], tensors: Tensors, path: Path, model: str
) -> tuple[Sizes, Expected]:
    """The sizes that all weights fit, and the expected shapes of these sizes.

    `inferred`: sizes inferred from the file. If its weights do not fit them, raises CheckpointMismatch with the
    mismatches against the inferred or the published sizes, whichever are fewer.
    """
    closest: Mismatches | None = None
    for sizes in (inferred,) if inferred == published else (inferred, published):
        try:
            expected = describe(sizes)
        except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError):
            continue  # a file of another model: no network has these sizes
        mismatches = find_mismatches(tensors, expected)
        if not mismatches.count:
            return sizes, expected
        if closest is None or mismatches.count < closest.count:
            closest = mismatches
    assert closest is not None, "published sizes always make a network"
    raise CheckpointMismatch(_report(closest, path, model), fix=f"use {model} as published, unchanged")


def _report(mismatches: Mismatches, path: Path, model: str) -> str:
    groups = {
        "missing": mismatches.missing,
        "unexpected": mismatches.unexpected,
        "misshapen": mismatches.misshapen,
        "of a wrong type": mismatches.wrong_dtype,
    }
    found = {kind: entries for kind, entries in groups.items() if entries}
    counts = ", ".join(f"{len(entries)} {kind}" for kind, entries in found.items())
    lines = [f"{path} does not hold the weights of {model}: {counts}"]
    lines += [line for kind, entries in found.items() for line in _list(kind, entries)]
    return "\n".join(lines)


def _list(kind: str, entries: list[str]) -> list[str]:
    """One kind of mismatch: counts by part of the model, then the first entries."""
    parts = Counter(entry.split()[0].partition(".")[0] for entry in entries)
    spread = ", ".join(f"{part} {count}" for part, count in parts.most_common())
    rest = len(entries) - NUM_SHOWN
    more = [f"    and {rest} more"] if rest > 0 else []
    return [f"  {kind} ({spread}):", *(f"    {entry}" for entry in entries[:NUM_SHOWN]), *more]


def _show(shape: Shape) -> str:
    return str(list(shape))
