"""Tells errors after which a GPU process is of no more use from errors of one chunk. Torch-free: goes by names.

After a CUDA error every later call of the same process fails too, and after running out of memory what is left is in
pieces. The process records the try, ends, and the supervisor starts a fresh one.
"""

from __future__ import annotations

from collections.abc import Iterator

_TYPES = frozenset({"AcceleratorError", "OutOfMemoryError", "DeferredCudaCallError"})
_SIGNS = ("CUDA error", "cuDNN error", "CUBLAS_STATUS_", "cuFFT error", "NCCL error", "HIP error", "device-side assert")


def is_device_fault(error: BaseException) -> bool:
    """Whether `error`, or what caused it, comes from a broken or exhausted device."""
    return any(type(link).__name__ in _TYPES or any(sign in str(link) for sign in _SIGNS) for link in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
