"""Several processes that train one model, each on its device: gradients are averaged, everything else stays apart.

Built on accelerate: `accelerate launch` starts one process per GPU (or machine), `launch` below starts several on the
cores of a CPU, where two processes of one thread each beat one process of two threads by far: networks as small as
`sprites` are thousands of short operations, and threads wait for one another after each.

Networks are not wrapped for this (no DistributedDataParallel): one exchange of all gradients after the backward pass
is quicker for small networks on a CPU, and leaves their names and checkpoints alone. Knows no task and no network.
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
"""What autocast computes in; "no" is float32 throughout. Weights and their averages are float32 in any case."""

_PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: while clips are encoded, or samples made, they may be far apart."""
_MOST_EXCHANGED = 1 << 26
"""Numbers per exchange: the copy that it needs must not outgrow the model."""


def join(precision: Precision = "no") -> Accelerator:
    """This process' place among those that were started together: device, autocast, loss scaling.

    Raises ValueError for fp16 on a CPU.
    """
    # accelerate keeps one state per process, with the precision of its first use; stages may differ in it.
    AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage] - it has no public name
    return Accelerator(mixed_precision=precision, kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)])


def rank() -> int:
    """This process' number; 0 keeps checkpoints and logs, and is all there is outside a launch."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def average(tensors: Sequence[Tensor]) -> None:
    """Replace the tensors (of one device and type) by their mean over all processes, in as few exchanges as may be."""
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
        if group and sum(one.numel() for one in group) + tensor.numel() > _MOST_EXCHANGED:
            yield group
            group = []
        group.append(tensor)
    if group:
        yield group


def agreed(seconds: float, device: torch.device) -> float:
    """One value for all processes where each measured its own: they must stop at the same step."""
    value = torch.tensor([seconds], dtype=torch.float64, device=device)
    average([value])
    return float(value)


def wait_for_all() -> None:
    """Return once every process has come this far."""
    if world_size() > 1:
        distributed.barrier()


def share(what: str, count: int, work: Callable[[int], None]) -> None:
    """Do this process' share of so many pieces; the first process shows a bar. Waits for nobody."""
    own = range(rank(), count, world_size())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=rank() != 0) as bar:
        for number in bar.track(own, description=what):
            work(number)


def tell(line: str) -> None:
    """Say something once, however many processes train."""
    if rank() == 0:
        sys.stdout.write(line + "\n")


def launch(work: Callable[[], None], processes: int, named: tuple[type[Exception], ...] = ()) -> None:
    """Run `work` (importable, without arguments but those bound by functools.partial) in so many CPU processes.

    One process is this one, on whatever device it has, or one of those that `accelerate launch` started. An error
    `named` is raised here as it was there; any other as a ProcessRaisedException with its traceback.
    """
    if processes == 1:
        work()
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            cast("Any", multiprocessing).spawn(_join, (work, processes, named, Path(folder)), nprocs=processes)
        except ProcessRaisedException as raised:
            if (told := Path(folder) / f"{raised.error_index}.error").is_file():
                raise pickle.loads(told.read_bytes()) from raised  # noqa: S301 - our own, in a folder of ours
            raise


def _join(
    number: int, work: Callable[[], None], processes: int, named: tuple[type[Exception], ...], folder: Path
) -> None:
    if sys.platform == "linux":
        # Else a run that was killed trains on, and overwrites the checkpoints of the one started after it.
        end_with_parent()
    # What accelerate reads to know its place; the group itself meets at a file, which no other program can take.
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update({"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "localhost"})
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=(folder / "meeting").as_uri(), rank=number, world_size=processes, timeout=_PATIENCE
    )
    try:
        work()
    except named as error:
        (folder / f"{number}.error").write_bytes(pickle.dumps(error))
        raise
    finally:
        distributed.destroy_process_group()
