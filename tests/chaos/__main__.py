"""`python -m tests.chaos`: prints its seed, injects faults, reports violations. Exit code 1 if there are any.

The same seed repeats the schedule of jobs and faults. Where something broke the logs of all processes are kept.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from tests.chaos import report
from tests.chaos.invariants import Violation, judge
from tests.chaos.run import Options, Run
from tests.chaos.schedule import make_plan
from tests.chaos.world import World

RESULTS = machine.REPOSITORY / "benchmarks" / "results"
SECONDS_PER_JOB = 2.0
SHOWN_PER_RULE = 12
console = Console(highlight=False, soft_wrap=True)


def parse_args(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="how long faults are thrown (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="repeat the schedule of this seed (default: a new one)")
    parser.add_argument("--workers", type=int, default=3, help="generation workers (default: %(default)s)")
    parser.add_argument("--jobs", type=int, help=f"jobs submitted (default: one for each {SECONDS_PER_JOB:g} s)")
    parser.add_argument("--settle", type=float, default=120.0, help="seconds for jobs to end (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="result file (default: benchmarks/results/chaos-SECONDSs.json)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    args = parse_args(arguments)
    seed: int = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    num_jobs: int = round(args.seconds / SECONDS_PER_JOB) if args.jobs is None else args.jobs
    options = Options(seed, args.seconds, args.workers, num_jobs, args.settle)
    console.print(f"chaos: seed {seed}; again: python -m tests.chaos {_as_arguments(options)}")
    signal.signal(signal.SIGTERM, _stop)
    folder = Path(tempfile.mkdtemp(prefix="longtake-chaos-"))
    kept = True
    try:
        violations = run(options, folder, args.out or RESULTS / f"chaos-{args.seconds:g}s.json")
        kept = bool(violations)
    except KeyboardInterrupt:
        console.print("chaos: stopped")
        return 130
    finally:
        if kept:
            console.print(f"chaos: logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if violations else 0


def run(options: Options, folder: Path, out: Path) -> list[Violation]:
    """Play it, judge it, tell it, write it down."""
    plan = make_plan(options.seed, options.seconds, options.num_jobs)
    with World(folder, options.num_workers, options.seed) as world:
        evidence = Run(world, plan, options, console.print).play()
    violations = judge(evidence)
    console.print(report.table(evidence))
    content = report.as_json(evidence, violations, asdict(options))
    report.write(content, out)
    _tell(violations, content["jobs"])
    console.print(f"chaos: written to {out}")
    return violations


def _tell(violations: Sequence[Violation], jobs: object) -> None:
    console.print(f"chaos: jobs {jobs}")
    shown = Counter[str]()
    for violation in violations:
        shown[violation.rule] += 1
        if shown[violation.rule] <= SHOWN_PER_RULE:
            where = f"{violation.job_id}: " if violation.job_id else ""
            console.print(f"chaos: {violation.rule}: {where}{violation.text}", markup=False)
    console.print(f"chaos: {len(violations)} violations {dict(shown) or ''}", markup=False)


def _as_arguments(options: Options) -> str:
    chosen = f"--seconds {options.seconds:g} --seed {options.seed}"
    return f"{chosen} --workers {options.num_workers} --jobs {options.num_jobs}"


def _stop(_number: int, _frame: object) -> None:
    """SIGTERM ends a run as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
