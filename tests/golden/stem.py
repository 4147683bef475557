"""What all stems use: sidecar, tensors, and a comparison that gives a finding."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tests.golden.folder import GoldenError, GoldenFolder
from tests.golden.report import Finding, largest_error
from tests.golden.tolerance import tolerance_of


@dataclass(frozen=True)
class Stem:
    """A stem of a folder, opened."""

    name: str
    folder: GoldenFolder
    sidecar: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def open(cls, folder: GoldenFolder, name: str) -> "Stem":
        """Read its files. Raises GoldenError."""
        return cls(name, folder, folder.sidecar(name), folder.tensors(name))

    @property
    def config(self) -> dict[str, Any]:
        """Its constants."""
        config: dict[str, Any] = self.sidecar.get("config", {})
        return config

    def given(self, tensor: str) -> Tensor:
        """A stored tensor. Raises GoldenError if it is missing."""
        if tensor not in self.tensors:
            raise GoldenError(f"{self.name} lacks {tensor}")
        return self.tensors[tensor]

    def outputs(self) -> set[str]:
        """Names of what the reference computed."""
        return {name for name in self.tensors if name.startswith("out.")}

    def finding(
        self, tensor: str, actual: Tensor, subjects: Sequence[str] = (), serving: Tensor | None = None
    ) -> Finding:
        """Compare with the stored tensor of this name; shapes may differ by how axes are grouped."""
        stored = self.given(tensor)
        tolerance = tolerance_of(self.sidecar, tensor, subjects)

        def error(ours: Tensor) -> float:
            return largest_error(_grouped_as(stored, ours), stored, relative=tolerance.relative)

        serving_error = None if serving is None else error(serving)
        return Finding(tensor, error(actual), tolerance.bound, serving_error, tolerance.relative)


Runner = Callable[[Stem], Iterator[Finding]]
"""Computes what a stem stores, and compares."""


def _grouped_as(stored: Tensor, actual: Tensor) -> Tensor:
    return actual.reshape(stored.shape) if actual.numel() == stored.numel() else actual
