"""Tells a broken or exhausted device from every other error. Torch-free: goes by the module and name of a type.

After a CUDA error every later call of the same process fails too, and after running out of memory what is left is in
pieces. The process records the try, ends, and the supervisor starts a fresh one.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

_TYPES = frozenset({"AcceleratorError", "OutOfMemoryError", "DeferredCudaCallError"})
"""Names in torch's modules. Redis' client has an OutOfMemoryError, too."""
_SIGNS = (
    "CUDA error",
    "CUDA out of memory",
    "CUDA driver error",
    "Triton Error [CUDA]",
    "cuDNN error",
    "CUBLAS_STATUS_",
    "cuFFT error",
    "cusolver error",
    "NCCL error",
    "NVML_SUCCESS",
    "HIP error",
    "device-side assert",
)
"""Words of what torch's and Triton's native code raises: mostly a plain RuntimeError, cuDNN's and cuBLAS' always."""
_COMPUTING = ("torch", "triton", "core.model", "diffusers", "transformers", "accelerate", "safetensors")
_SERVING = ("core.service", "worker", "api", "cli", "redis", "celery", "kombu", "boto3", "botocore", "httpx")


def is_device_fault(error: BaseException) -> bool:
    """Whether `error`, what caused it or what was being handled when it was raised comes from the device."""
    return any(_is_of_torch(link) or _says_so(link) for link in _all_links(error))


def _is_of_torch(error: BaseException) -> bool:
    """A type of torch's for faults of devices, or one derived from it."""
    return any(kind.__name__ in _TYPES and _is_within(kind.__module__, ("torch",)) for kind in type(error).__mro__)


def _says_so(error: BaseException) -> bool:
    """A plain RuntimeError, or one of torch's, whose text is that of native code and that arose while computing."""
    kind = type(error)
    if kind is not RuntimeError and not _is_within(kind.__module__, ("torch",)):
        return False
    return any(sign in str(error) for sign in _SIGNS) and _arose_computing(error)


def _arose_computing(error: BaseException) -> bool:
    """Whether the innermost place of the traceback that is known here is one that computes; also where there is none.

    Innermost, because a step's callback leads from the model half back to the service's own code.
    """
    computing = True
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        if _is_within(module, _COMPUTING):
            computing = True
        elif _is_within(module, _SERVING):
            computing = False
    return computing


def _is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _all_links(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes, its contexts (hidden ones too: the device broke all the same) and members of groups."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__]
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions
