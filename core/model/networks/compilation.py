"""Compiled functions that run as they are where compiling fails: a shape too many is slower, never an error.

A compiled network takes fixed shapes, each compiled at its first use, which takes minutes, and torch refuses more than
a number of them. Knows no network: whatever takes tensors and gives tensors.
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
"""Makes a faster function of a function."""

MAX_SHAPES = 16
"""Of one function of one network, compiled. torch's own limit is 8; windows, short ones, both guidance batches and the
sizes of refinement are more. Each takes minutes once and some main memory."""
_FIXED: dict[str, Any] = {
    "fullgraph": True,
    "dynamic": False,
    "recompile_limit": MAX_SHAPES,
    "isolate_recompiles": True,  # several networks run the same functions: each has its own shapes
}


def for_cuda(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one compiled graph, replayed as a CUDA graph; a fault where it does not hold in one graph."""
    return torch.compile(function, mode="reduce-overhead", **_FIXED)


def in_one_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one compiled graph without a CUDA graph: for kernels so large that starting them costs nothing."""
    return torch.compile(function, **_FIXED)


def or_eager(compiler: Compiler, long_work: LongWork = unannounced) -> Compiler:
    """`compiler`, its functions run as they are for arguments that they do not take; see EagerWhereItMust."""

    def compile_one(function: Callable[..., Any]) -> Callable[..., Any]:
        return EagerWhereItMust(function, compiler(function), long_work)

    return compile_one


class EagerWhereItMust:
    """One function, compiled where that works. One line in the log for every kind of arguments where it does not."""

    def __init__(
        self, function: Callable[..., Any], compiled: Callable[..., Any], long_work: LongWork = unannounced
    ) -> None:
        """`long_work` stands around the first call with a kind of arguments, which compiles."""
        self._function = function
        self._compiled = compiled
        self._long_work = long_work
        self._known: set[Hashable] = set()
        self._eager: set[Hashable] = set()

    def __call__(self, *given: Any) -> Any:
        """What `function` gives. Raises what the device raises, and what `function` raises by itself."""
        kind = _kind(given)
        if kind not in self._eager:
            try:
                return self._call_compiled(kind, given)
            except Exception as error:  # a compiler fails in ways that nobody can list; only a broken device ends it
                if is_device_fault(error):
                    raise
                self._give_up(kind, given, error)
        return self._function(*given)

    def _call_compiled(self, kind: Hashable, given: tuple[Any, ...]) -> Any:
        is_new = kind not in self._known
        with self._long_work(f"compiling for {_sizes(given)}") if is_new else nullcontext():
            result = self._compiled(*given)
        self._known.add(kind)
        return result

    def _give_up(self, kind: Hashable, given: tuple[Any, ...], error: Exception) -> None:
        self._eager.add(kind)
        why = " ".join(str(error).split("\n")[:2])  # the first line of a failed backend names it only
        logger.warning("not compiled for %s, which is slower: %s: %s", _sizes(given), type(error).__name__, why)


def _kind(given: tuple[Any, ...]) -> Hashable:
    """What of the arguments a compiled function is made for."""
    tensors = tuple((t.shape, t.stride(), t.dtype, t.device) for t in given if isinstance(t, Tensor))
    return tensors, torch.is_grad_enabled(), torch.is_inference_mode_enabled()


def _sizes(given: tuple[Any, ...]) -> str:
    return ", ".join("x".join(map(str, t.shape)) for t in given if isinstance(t, Tensor) and t.ndim)
