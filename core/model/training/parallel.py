"""Several processes that train one model: each takes its share of every step's samples, gradients are averaged.

On a CPU two processes of one thread each beat one process of two threads by far here: networks this small are
thousands of short operations, and threads wait for one another after each. Knows no task and no network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from torch import Tensor


def rank() -> int:
    """This process' number; 0 keeps checkpoints and logs, and is all there is outside `launch`."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def average(tensors: Sequence[Tensor]) -> None:
    """Replace the tensors by their mean over all processes, in one exchange."""
    if world_size() == 1:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def agreed(seconds: float) -> float:
    """One value for all processes where each measured its own: they must stop at the same step."""
    value = torch.tensor([seconds], dtype=torch.float64)
    average([value])
    return float(value)


def wait_for_all() -> None:
    """Return once every process has come this far."""
    if world_size() > 1:
        distributed.barrier()


def launch(work: Callable[[], None], processes: int) -> None:
    """Run `work` (importable, without arguments but those bound by functools.partial) in so many processes."""
    if processes == 1:
        work()
        return
    with tempfile.TemporaryDirectory() as folder:
        cast("Any", multiprocessing).spawn(_join, (work, processes, Path(folder) / "meeting"), nprocs=processes)


def _join(number: int, work: Callable[[], None], processes: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=number, world_size=processes)
    try:
        work()
    finally:
        distributed.destroy_process_group()
