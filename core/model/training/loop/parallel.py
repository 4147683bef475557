"""Data-parallel training in several processes: each has its own device and data, gradients are averaged.

Built on accelerate: `accelerate launch` starts one process per GPU (or machine); `launch` below starts several on a
CPU, where two processes of one thread each are much faster than one process of two threads: networks as small as
`sprites` are thousands of short operations, and threads wait for one another after each.

Networks are not wrapped in DistributedDataParallel: one all-reduce of all gradients after the backward pass is faster
for small networks on a CPU, and does not change the names of weights.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException

from core.processes import end_with_parent

Precision = Literal["no", "fp16", "bf16"]
"""Precision of autocast; "no" is float32 throughout. Weights and their averages are always float32."""

_TIMEOUT = timedelta(hours=12)
"""How long a process waits for the others: while clips are encoded or samples are made, they may be far apart."""
_MAX_REDUCED = 1 << 26
"""Numbers per all-reduce: limits the memory of the copy that it needs."""


def join(precision: Precision = "no") -> Accelerator:
    """This process' accelerator: device, autocast and loss scaling. Raises ValueError for fp16 on a CPU."""
    # accelerate keeps one global state with the precision of its first use; stages may differ in precision.
    AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage] - it has no public name
    return Accelerator(mixed_precision=precision, kwargs_handlers=[InitProcessGroupKwargs(timeout=_TIMEOUT)])


def rank() -> int:
    """This process' number; 0 writes checkpoints and logs. Always 0 outside a launch."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def average(tensors: Sequence[Tensor]) -> None:
    """Replace the tensors (of one device and dtype) by their means over all processes, in few all-reduces."""
    if world_size() == 1:
        return
    for group in _grouped(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        distributed.all_reduce(flat)
        flat /= world_size()
        for tensor, mean in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def _grouped(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    group: list[Tensor] = []
    for tensor in tensors:
        if group and sum(one.numel() for one in group) + tensor.numel() > _MAX_REDUCED:
            yield group
            group = []
        group.append(tensor)
    if group:
        yield group


def agreed(seconds: float, device: torch.device) -> float:
    """The mean of a duration measured by each process: all must stop at the same step."""
    value = torch.tensor([seconds], dtype=torch.float64, device=device)
    average([value])
    return float(value)


def wait_for_all() -> None:
    """Barrier: return once every process has called it."""
    if world_size() > 1:
        distributed.barrier()


def share(what: str, count: int, work: Callable[[int], None]) -> None:
    """Call `work` for this process' share of range(count), without a barrier. The first process shows progress."""
    own = range(rank(), count, world_size())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=rank() != 0) as bar:
        for number in bar.track(own, description=what):
            work(number)


def print_once(line: str) -> None:
    """Print a line in the first process only."""
    if rank() == 0:
        sys.stdout.write(line + "\n")


def launch(work: Callable[[], None], processes: int, reraised: tuple[type[Exception], ...] = ()) -> None:
    """Run `work` (picklable: a module-level function or a partial of one) in this many CPU processes.

    One process means this one, on its own device, possibly started by `accelerate launch`. Exceptions of the types
    `reraised` are raised here unchanged; any other as a ProcessRaisedException with its traceback.
    """
    if processes == 1:
        work()
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            cast("Any", multiprocessing).spawn(_join, (work, processes, reraised, Path(folder)), nprocs=processes)
        except ProcessRaisedException as raised:
            if (error := Path(folder) / f"{raised.error_index}.error").is_file():
                raise pickle.loads(error.read_bytes()) from raised  # noqa: S301 - written by our own process
            raise


def _join(
    number: int, work: Callable[[], None], processes: int, reraised: tuple[type[Exception], ...], folder: Path
) -> None:
    if sys.platform == "linux":
        # Otherwise the children of a killed run would continue and overwrite the checkpoints of the next run.
        end_with_parent()
    # accelerate reads these. The group itself is initialised through a file, which needs no free port.
    ranks = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ.update({name: str(value) for name, value in ranks.items()})
    os.environ.update({"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "localhost"})
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=(folder / "meeting").as_uri(), rank=number, world_size=processes, timeout=_TIMEOUT
    )
    try:
        work()
    except reraised as error:
        (folder / f"{number}.error").write_bytes(pickle.dumps(error))
        raise
    finally:
        distributed.destroy_process_group()
