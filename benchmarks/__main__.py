"""`python -m benchmarks`: runs all measurements, or those of `--only`, prints a table and writes a JSON file.

`http`: requests per second of the API, also `--against` another checkout. `media`: what it streams to players.
`keys`: what the check of an API key costs. `streams`: the cost of 2,000 event streams.
`endless`: a job without an end, to 3,000 frames. `scale`: 10,000 queued and 200 running jobs, 32 workers.
`chunks`: chunks of `sprites` as shipped, also `--against` another checkout.
`steps`: one guidance step of the reference, default and compiled network.
`approximations`: speed and error of the optional ones. `refinement`: both schedules at several video lengths.
`scheduling`: who is next, in a seeded simulator; `scheduling-served`: the same on the fake engine and `sprites`.
`delivery`: first chunks, gaps, deadlines and viewers' stalls of several jobs at once.
`video-metrics`: metrics of 240 frames of 720x720 with OpenCV's flow.
`page`: weight, first paint and CPU time of the page in Chromium.
`service`: jobs on an embedded stack; the overhead of a long one also `--against` another checkout.
For GPUs: `python -m benchmarks.cuda`.

Exit code 0: everything was measured, whether or not targets were met, as times depend on the machine.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import delivery, endless, footprint, http, jobs, keys, machine, media, streams, video_metrics
from benchmarks.figures import Figure, Report
from benchmarks.scale import measure as scale
from benchmarks.scheduling import served, simulation
from cli.processes.stack import StackOptions, running_stack
from cli.processes.stop_signal import Stopped, StopSignal
from client import Longtake
from core.service.domain.errors import LongtakeError

GROUPS = (
    *("service", "page", "http", "keys", "media", "streams", "endless", "scale"),
    *("scheduling", "scheduling-served", "delivery", "video-metrics"),
    *("chunks", "steps", "approximations", "refinement"),
)
RESULTS = Path(__file__).parent / "results"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=GROUPS, help="measure this group alone (result file NAME-GROUP.json)")
    parser.add_argument("--name", default=machine.name(), help="of the result file (default: %(default)s)")
    parser.add_argument("--model", default="sprites", help="preset (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=64, help="frames per job (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="jobs, and starts of the API (default: %(default)s)")
    parser.add_argument(
        "--against", type=Path, help="another checkout, measured alternately (http, chunks), or next (service)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    console = Console()
    stop = StopSignal()
    stop.install()
    report = Report(datetime.now(UTC).isoformat(timespec="seconds"), machine.commit(), machine.describe())
    try:
        report.figures.extend(measure_all(args, stop, console))
    except LongtakeError as error:
        print(f"bench: {error.message}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        return stopped.exit_code
    path = args.out / f"{args.name}{'-' + args.only if args.only else ''}.json"
    report.write(path)
    console.print(table(report))
    console.print(f"written to {path}")
    return 0


def measure_all(args: argparse.Namespace, stop: StopSignal, console: Console) -> list[Figure]:
    """All figures, or those of one group."""

    def say(text: str) -> None:
        console.print(f"[dim]bench:[/dim] {text}", highlight=False)

    groups = [args.only] if args.only else GROUPS
    figures: list[Figure] = []
    if "service" in groups:
        figures += measure_service(args, stop, say)
    if "page" in groups:
        figures += measure_page(args, stop, say)
    if "http" in groups:
        with stop.interruptible():
            figures += http.measure(args.runs, args.against, say)
    if "keys" in groups:
        with stop.interruptible():
            figures += keys.measure(args.runs, say)
    if "media" in groups:
        with stop.interruptible():
            figures += media.measure(say)
    if "streams" in groups:
        with stop.interruptible():
            figures += streams.measure(args.runs, say)
    if "endless" in groups:
        with stop.interruptible():
            figures += endless.measure(say)
    if "scale" in groups:
        with stop.interruptible():
            figures += scale.measure(say)
    if "scheduling" in groups:
        with stop.interruptible():
            figures += simulation.measure(say)
    if "scheduling-served" in groups:
        with stop.interruptible():
            figures += served.measure(say)
    if "delivery" in groups:
        with stop.interruptible():
            figures += delivery.measure(say)
    if "video-metrics" in groups:
        with stop.interruptible():
            figures += video_metrics.measure(say)
    with stop.interruptible():
        # Imported here: torch's threads would share the cores with the service while that is measured.
        if "chunks" in groups:
            figures += importlib.import_module("benchmarks.chunks").measure(args.runs, args.against, say)
        if "steps" in groups:
            figures += importlib.import_module("benchmarks.steps").measure(say)
        if "approximations" in groups:
            figures += importlib.import_module("benchmarks.approximations").measure(say)
        if "refinement" in groups:
            figures += importlib.import_module("benchmarks.refinement").measure(say)
    return figures


def measure_service(args: argparse.Namespace, stop: StopSignal, say: Callable[[str], None]) -> list[Figure]:
    """Jobs on an embedded stack in a temporary folder; what another checkout spends outside the engine."""
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        say(f"starting the embedded stack with {args.model}")
        options = StackOptions(Path(folder), model=args.model, gpus="auto")
        with running_stack(options, stop) as stack, stop.interruptible(), Longtake(stack.base_url) as client:
            figures = jobs.measure(client, runs=args.runs, num_frames=args.frames, say=say)
            figures += footprint.measure(stack.settings, Path(folder), runs=args.runs, say=say)
    return figures + ([measure_overhead_of(args.against.resolve(), args.model, stop, say)] if args.against else [])


def measure_page(args: argparse.Namespace, stop: StopSignal, say: Callable[[str], None]) -> list[Figure]:
    """The page of an embedded stack in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        options = StackOptions(Path(folder), model=args.model, gpus="auto")
        with running_stack(options, stop) as stack, stop.interruptible(), Longtake(stack.base_url) as client:
            return importlib.import_module("benchmarks.page").measure(client, stack.base_url, runs=args.runs, say=say)


def measure_overhead_of(tree: Path, model: str, stop: StopSignal, say: Callable[[str], None]) -> Figure:
    """The overhead of a long job on API and workers of another checkout, with the presets of that."""
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder, machine.processes_of(tree):
        say(f"starting the embedded stack of {tree.name}")
        options = StackOptions(Path(folder), model=model, gpus="auto")
        with running_stack(options, stop) as stack, stop.interruptible(), Longtake(stack.base_url) as client:
            jobs.run_job(client, 32, seed=0)
            figure = jobs.measure_overhead(client, say)
    return replace(figure, name=f"{figure.name}, {tree.name}", target=None)


def table(report: Report) -> Table:
    """The figures as a table: measured value, target, met or not."""
    info = report.machine
    title = f"{info['cpu']}, {info['cores']} cores, {info['memory_gib']} GiB, torch {info['torch']}, {report.commit}"
    shown = Table(title=title, title_justify="left")
    for column in ("figure", "measured", "target", ""):
        shown.add_column(column, justify="right" if column == "measured" else "left")
    for figure in report.figures:
        verdict = {True: "[green]met[/green]", False: "[red]not met[/red]", None: ""}[figure.met]
        shown.add_row(figure.name, figure.value_text, figure.target_text, verdict)
    return shown


if __name__ == "__main__":
    sys.exit(main())
