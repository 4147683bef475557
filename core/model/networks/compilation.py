"""torch.compile with a fallback to eager execution: an input that cannot be compiled is slower, not an error.

Networks are compiled for fixed shapes, each at its first use, which takes minutes; torch limits their number. Works for
any function of tensors.
"""

import logging
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from core.service.domain.device_fault import is_device_fault
from core.service.domain.engine import LongWork, unannounced

logger = logging.getLogger(__name__)

Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Returns the compiled version of a function."""

MAX_SHAPES = 16
"""Compiled shapes per function and network. torch's default, 8, is too low: window lengths, guidance batch sizes and
refinement sizes multiply. Each takes minutes once and some main memory."""
_FIXED: dict[str, Any] = {
    "fullgraph": True,
    "dynamic": False,
    "recompile_limit": MAX_SHAPES,
    "isolate_recompiles": True,  # networks that share a function count their shapes separately
}


def compile_with_cuda_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as one graph and replay it as a CUDA graph. A graph break is an error."""
    return torch.compile(function, mode="reduce-overhead", **_FIXED)


def compile_one_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as one graph without a CUDA graph: for kernels so large that launch time does not matter."""
    return torch.compile(function, **_FIXED)


def with_eager_fallback(compiler: Compiler, long_work: LongWork = unannounced) -> Compiler:
    """A compiler whose functions run eagerly if compilation fails; see EagerFallback."""

    def compile_one(function: Callable[..., Any]) -> Callable[..., Any]:
        return EagerFallback(function, compiler(function), long_work)

    return compile_one


class EagerFallback:
    """A compiled function that runs eagerly for inputs that cannot be compiled; logs one warning per kind of input."""

    def __init__(
        self, function: Callable[..., Any], compiled: Callable[..., Any], long_work: LongWork = unannounced
    ) -> None:
        """`long_work`: a context manager around the first call with each kind of input, which compiles."""
        self._function = function
        self._compiled = compiled
        self._long_work = long_work
        self._compiled_kinds: set[Hashable] = set()
        self._eager_kinds: set[Hashable] = set()

    def __call__(self, *inputs: Any) -> Any:
        """Result of `function`. Raises device errors, and what `function` raises when run eagerly."""
        kind = _input_kind(inputs)
        if kind not in self._eager_kinds:
            try:
                return self._call_compiled(kind, inputs)
            except Exception as error:  # compilers raise many kinds; only a broken device ends the job
                if is_device_fault(error):
                    raise
                self._fall_back(kind, inputs, error)
        return self._function(*inputs)

    def _call_compiled(self, kind: Hashable, inputs: tuple[Any, ...]) -> Any:
        is_new = kind not in self._compiled_kinds
        with self._long_work(f"compiling for {_sizes(inputs)}") if is_new else nullcontext():
            result = self._compiled(*inputs)
        self._compiled_kinds.add(kind)
        return result

    def _fall_back(self, kind: Hashable, inputs: tuple[Any, ...], error: Exception) -> None:
        self._eager_kinds.add(kind)
        why = " ".join(str(error).split("\n")[:2])  # a backend's first line holds its name only
        logger.warning("not compiled for %s, which is slower: %s: %s", _sizes(inputs), type(error).__name__, why)


def _input_kind(inputs: tuple[Any, ...]) -> Hashable:
    """What torch specialises a compiled function on."""
    tensors = tuple((t.shape, t.stride(), t.dtype, t.device) for t in inputs if isinstance(t, Tensor))
    return tensors, torch.is_grad_enabled(), torch.is_inference_mode_enabled()


def _sizes(inputs: tuple[Any, ...]) -> str:
    return ", ".join("x".join(map(str, t.shape)) for t in inputs if isinstance(t, Tensor) and t.ndim)
