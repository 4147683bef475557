"""A tensor that stays in its file: its bytes are memory-mapped only while it is used.

Slicing and transposing only change strides, so converting names and layouts reads nothing.
"""

import math
import mmap
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LazyTensor:
    """A strided view of bytes in a file. `strides` count elements; `offset` is the first element's byte in the file."""

    path: Path
    offset: int
    dtype: torch.dtype
    shape: Shape
    strides: Shape

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensor's elements."""
        return self.num_elements * self.dtype.itemsize

    @property
    def span_bytes(self) -> int:
        """Bytes of the file from the first element to the end of the last one."""
        if not self.num_elements:
            return 0
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return (last + 1) * self.dtype.itemsize

    def load(self) -> Tensor:
        """The tensor, on the CPU. Backed by the memory-mapped file, not copied."""
        if not self.num_elements:
            return torch.empty(self.shape, dtype=self.dtype)
        start = self.offset - self.offset % mmap.ALLOCATIONGRANULARITY
        ahead = self.offset - start
        with self.path.open("rb") as file:
            # Copy-on-write, since torch wants writable memory; only this tensor's range, since the kernel may refuse a
            # private mapping larger than the machine's memory. It is unmapped with the tensor.
            mapped = mmap.mmap(file.fileno(), ahead + self.span_bytes, access=mmap.ACCESS_COPY, offset=start)
        count = self.span_bytes // self.dtype.itemsize
        flat = torch.frombuffer(mapped, dtype=self.dtype, count=count, offset=ahead)
        return flat.as_strided(self.shape, self.strides)

    def rows(self, start: int, stop: int) -> "LazyTensor":
        """Indices `start` to `stop` of the first dimension."""
        assert 0 <= start <= stop <= self.shape[0], f"rows {start}..{stop} of {self.shape}"
        moved = self.offset + start * self.strides[0] * self.dtype.itemsize
        return replace(self, offset=moved, shape=(stop - start, *self.shape[1:]))

    def transposed(self) -> "LazyTensor":
        """A matrix with rows and columns exchanged."""
        assert len(self.shape) == 2, f"{self.shape} is no matrix"
        return replace(self, shape=self.shape[::-1], strides=self.strides[::-1])

    @property
    def is_pointwise(self) -> bool:
        """Whether it could be a linear layer's: no kernel, or one of size 1."""
        return all(size == 1 for size in self.shape[2:])

    def as_matrix(self) -> "LazyTensor":
        """A convolution of kernel size 1, [out, in, 1, ...], as the weight of a linear layer, [out, in]."""
        assert self.is_pointwise, f"{self.shape} has a kernel larger than 1"
        return replace(self, shape=self.shape[:2], strides=self.strides[:2])
