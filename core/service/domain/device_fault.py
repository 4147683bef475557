"""Recognises errors of a broken or exhausted GPU. Torch-free: it compares module and class names.

After a CUDA error every later call in the process fails, and after an out-of-memory error memory is fragmented. So the
worker process records the attempt and exits, and the supervisor starts a new one.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

_TYPES = frozenset({"AcceleratorError", "OutOfMemoryError", "DeferredCudaCallError"})
"""Class names in torch's modules. The Redis client has an OutOfMemoryError of its own."""
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
"""Texts in errors of native code, which are mostly plain RuntimeErrors."""
_COMPUTING = ("torch", "triton", "core.model", "diffusers", "transformers", "accelerate", "safetensors")
_SERVING = ("core.service", "worker", "api", "cli", "redis", "celery", "kombu", "boto3", "botocore", "httpx")


def is_device_fault(error: BaseException) -> bool:
    """Whether `error`, its cause or its context comes from the device."""
    return any(_has_torch_type(link) or _has_device_text(link) for link in _error_chain(error))


def _has_torch_type(error: BaseException) -> bool:
    """Whether its class is one of torch's device errors, or derived from one."""
    return any(kind.__name__ in _TYPES and _is_within(kind.__module__, ("torch",)) for kind in type(error).__mro__)


def _has_device_text(error: BaseException) -> bool:
    """Whether it is a RuntimeError, or a class of torch, with a text of native code, raised while computing."""
    kind = type(error)
    if kind is not RuntimeError and not _is_within(kind.__module__, ("torch",)):
        return False
    return any(sign in str(error) for sign in _SIGNS) and _raised_while_computing(error)


def _raised_while_computing(error: BaseException) -> bool:
    """Whether the innermost known frame of the traceback is in computing code; True if no frame is known.

    Innermost, because a step callback leads from model code back into service code.
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


def _error_chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes, its contexts (also suppressed ones) and the members of exception groups."""
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
