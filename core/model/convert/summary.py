"""Types of a conversion shared with its callers: options, progress reports, the summary at its end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from core.model.convert.lazy_tensor import LazyTensor

DtypeName = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[DtypeName, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

Report = Callable[[str, int, int], None]
"""`report(phase, done_bytes, total_bytes)`: bytes written so far, of all parts."""


def no_report(phase: str, done_bytes: int, total_bytes: int) -> None:
    """A Report that does nothing."""
    del phase, done_bytes, total_bytes


@dataclass(frozen=True)
class Part:
    """One network to write: its folder's name, its config.json, its weights under the names it loads them by."""

    name: str
    config: dict[str, Any]
    tensors: dict[str, LazyTensor]

    @property
    def num_parameters(self) -> int:
        return sum(tensor.num_elements for tensor in self.tensors.values())


@dataclass(frozen=True)
class WrittenPart:
    """One network as it was written."""

    name: str
    num_parameters: int
    num_bytes: int
    num_files: int


@dataclass(frozen=True)
class Summary:
    """A finished conversion."""

    folder: Path
    dtype: DtypeName
    parts: tuple[WrittenPart, ...]
    is_published_size: bool
    """Whether all sizes are those of the published model."""
    source_dtypes: tuple[str, ...]
    num_ignored: int
    """Tensors in the files that this model does not use."""
    placeholders: tuple[str, ...]
    """Globals outside the weights that torch.load would have imported; they were not."""

    @property
    def num_parameters(self) -> int:
        return sum(part.num_parameters for part in self.parts)

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)


def dtypes_of(parts: Iterable[Part]) -> tuple[str, ...]:
    """dtypes in which the weights were stored."""
    found = {tensor.dtype for part in parts for tensor in part.tensors.values()}
    return tuple(sorted(str(dtype).removeprefix("torch.") for dtype in found))
