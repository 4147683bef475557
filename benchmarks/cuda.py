"""`python -m benchmarks.cuda`: a GPU at the published model's size, with random weights in bfloat16.

Made for a GPU that is available for a quarter of an hour: a run takes less than 8 minutes on one H200, the most
important modes come first, and the result file is written after every figure. `--modes` chooses; a later run adds to
the file. `--device cpu --size tiny` runs the same code in seconds; so does a run without CUDA and `--device`, which
writes every figure as "not measured".
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import machine
from benchmarks.__main__ import RESULTS, table
from benchmarks.cuda_engine import graphs, memory, pace, repeat
from benchmarks.cuda_refiner import measure_compiled_refiner, measure_refiner
from benchmarks.cuda_rig import SCALES, Rig
from benchmarks.cuda_smoke import smoke
from benchmarks.figures import Figure, Report
from benchmarks.result_file import ResultFile

SECONDS = 460.0
"""Of a whole run, which stays within 8 minutes with the start of Python."""


@dataclass(frozen=True)
class Mode:
    """One kind of measurement. `seconds`: estimate for one H200 at full size, loading and compiling included."""

    measure: Callable[[Rig], Iterator[Figure]]
    seconds: float


MODES = {
    "smoke": Mode(smoke, 20),
    "pace": Mode(pace, 40),
    "repeat": Mode(repeat, 5),
    "memory": Mode(memory, 10),
    "refiner": Mode(measure_refiner, 40),
    "graphs": Mode(graphs, 200),
    "refiner-compiled": Mode(measure_compiled_refiner, 120),
}
"""The most important first; those that compile, which can take long, last."""


def main(argv: Sequence[str] | None = None) -> int:
    """0 if all requested modes were measured."""
    args = parse_args(argv)
    console = Console()
    device, scale = args.device or default_device(), SCALES[args.size or default_size(args.device)]
    is_rehearsal = args.device is None and device == "cpu"
    path = args.out / f"{args.name or result_name(device, scale.name, is_rehearsal=is_rehearsal)}.json"
    if is_rehearsal:
        console.print("no CUDA here: toy size on the CPU, for correctness only")
        path.unlink(missing_ok=True)
    info = machine.describe() | gpu_info(device) | {"size": scale.name}
    result_file = ResultFile(path, Report(datetime.now(UTC).isoformat(timespec="seconds"), machine.commit(), info))
    run = Run(Rig(torch.device(device), scale), result_file, time.monotonic() + args.seconds, blank=is_rehearsal)
    with torch.inference_mode():
        complete = [run.measure(name, lambda text: console.print(text, highlight=False)) for name in args.modes]
    console.print(table(result_file.report))
    console.print(f"written to {path}")
    return 0 if all(complete) else 1


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    parser.add_argument("--modes", type=chosen_modes, default=list(MODES), help=f"of {', '.join(MODES)} (default: all)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all of it (default: %(default)g)")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda if available")
    parser.add_argument("--size", choices=SCALES, help="of the networks (default: full on cuda, else tiny)")
    parser.add_argument("--name", help="of the result file (default: the device's)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results (default: %(default)s)")
    return parser.parse_args(argv)


def chosen_modes(text: str) -> list[str]:
    """Comma-separated names, in the order of MODES."""
    names = text.split(",")
    unknown = [name for name in names if name not in MODES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: use some of {', '.join(MODES)}")
    return [name for name in MODES if name in names]


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_size(device: str | None) -> str:
    return "full" if (device or default_device()) == "cuda" else "tiny"


def result_name(device: str, size: str, *, is_rehearsal: bool) -> str:
    """ "h200-bf16" at full size, "h200-tiny", "cpu-tiny", or "cuda-not-measured"."""
    if is_rehearsal:
        return "cuda-not-measured"
    if device == "cpu":
        return f"cpu-{size}"
    model = torch.cuda.get_device_name().split()[1:2] or ["gpu"]
    return f"{model[0].lower()}-{'bf16' if size == 'full' else size}"


def gpu_info(device: str) -> dict[str, str | int | float]:
    """The GPU, for the report."""
    if device == "cpu":
        return {"gpu": "none"}
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda or "unknown",
        "cudnn": torch.backends.cudnn.version() or 0,
    }


@dataclass(frozen=True)
class Run:
    """Runs modes one after the other and writes one file, until the time is over."""

    rig: Rig
    result_file: ResultFile
    ends_at: float
    """By time.monotonic."""
    blank: bool = False
    """Write every figure as not measured."""
    modes: Mapping[str, Mode] = field(default_factory=lambda: MODES)

    def measure(self, name: str, say: Callable[[str], None]) -> bool:
        """All figures of a mode. False if it failed or there was no time; the file has the reason."""
        mode, early = self.modes[name], f"{name}: ended early"
        self.result_file.drop(early)
        started = time.monotonic()
        try:
            self._check_time(mode.seconds if self.rig.scale.name == "full" else 0.0)
            for figure in mode.measure(self.rig):
                self._add(figure, say, time.monotonic() - started)
                self._check_time(0.0)
        except Exception as error:  # boundary of a mode: the others can still be measured
            say(f"{early}: {error!r}")
            self.result_file.add(Figure(early, None, "", note=f"{type(error).__name__}: {error}"[:500]))
            if not isinstance(error, NoTimeLeft):
                self.rig.free()
            return False
        return True

    def _add(self, figure: Figure, say: Callable[[str], None], seconds: float) -> None:
        self.result_file.add(replace(figure, value=None, samples=()) if self.blank else figure)
        say(f"{seconds:6.1f} s  {figure.name}: {figure.value_text}  {figure.note}")

    def _check_time(self, needed: float) -> None:
        left = self.ends_at - time.monotonic()
        if left <= needed:
            raise NoTimeLeft(f"{max(0.0, left):.0f} s were left, {needed:.0f} s are estimated")


class NoTimeLeft(Exception):
    """The run's seconds are over, or the next mode needs more than is left."""


if __name__ == "__main__":
    sys.exit(main())
