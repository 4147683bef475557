"""Seconds of a chunk of `sprites` as shipped, first and later ones, decoding included: with all cores and with one.

Against another checkout (`--against FOLDER`, such as a worktree of an earlier commit) both take turns, each in a
process of its own that stays warm and waits meanwhile; each has the weights and the preset of its own checkout. A ratio
is the median of those of each turn, so that a change of the machine's load affects both sides.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.machine import REPOSITORY
from core.model.cores import usable_cores
from core.service.domain.frame_plan import CHUNK_FRAMES

KINDS = ("first", "later")
TURNS_PER_RUN = 4
SCRIPT = Path(__file__).with_name("chunk_process.py")


@dataclass(frozen=True)
class Seconds:
    """Of one chunk."""

    wall: float
    cpu: float


Ask = Callable[[str], Seconds]
"""Makes a chunk of this kind."""
Samples = Mapping[str, Sequence[Seconds]]
"""By kind, in the order of the turns."""


def measure(runs: int, against: Path | None, say: Callable[[str], None]) -> list[Figure]:
    """`runs` times TURNS_PER_RUN chunks of each kind, of this checkout and, in turn, of the other one."""
    trees = [REPOSITORY, *([against.resolve()] if against else [])]
    figures: list[Figure] = []
    for threads in sorted({usable_cores(), 1}, reverse=True):
        with ExitStack() as stack:
            processes = [stack.enter_context(chunk_process(tree, threads)) for tree in trees]
            samples = take_turns(processes, runs * TURNS_PER_RUN, lambda text, n=threads: say(f"{n} threads, {text}"))
        figures += figures_of(f"{threads} thread{'s' if threads > 1 else ''}", samples, trees)
    return figures


@contextmanager
def chunk_process(tree: Path, threads: int) -> Generator[Ask]:
    """A process that makes chunks with the code of the checkout `tree`; ended at the end."""
    command = [sys.executable, "-P", str(SCRIPT), str(tree), str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tree, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines, answers = process.stdin, process.stdout

        def ask(kind: str) -> Seconds:
            lines.write(f"{kind}\n")
            lines.flush()
            answer = answers.readline()
            assert answer, f"the process of {tree} ended"
            return Seconds(*json.loads(answer))

        try:
            yield ask
        finally:
            process.terminate()


def take_turns(processes: Sequence[Ask], turns: int, say: Callable[[str], None]) -> list[dict[str, list[Seconds]]]:
    """Chunks of each kind, one of every process per turn. The first of each, which warms up, is not counted."""
    samples: list[dict[str, list[Seconds]]] = [{kind: [] for kind in KINDS} for _ in processes]
    for turn in range(turns + 1):
        for kind in KINDS:
            for ask, own in zip(processes, samples, strict=True):
                seconds = ask(kind)
                own[kind] += [seconds] if turn else []
        say(f"turn {turn} of {turns}")
    return samples


def figures_of(name: str, samples: Sequence[Samples], trees: Sequence[Path]) -> list[Figure]:
    """Seconds and frames per second of the first of `trees`, this checkout, and its ratios to the others."""
    own, *others = samples
    figures: list[Figure] = []
    for kind in KINDS:
        title = f"{kind} chunk, {name}"
        walls = [round(each.wall, 3) for each in own[kind]]
        rates = [round(CHUNK_FRAMES / each.wall, 2) for each in own[kind]]
        figures += [
            Figure(title, round(statistics.median(walls), 3), "s", samples=walls),
            Figure(
                f"{title}, frames per second", round(statistics.median(rates), 2), "frames/s", None, "higher", rates
            ),
        ]
        for tree, other in zip(trees[1:], others, strict=True):
            pairs = list(zip(own[kind], other[kind], strict=True))
            in_wall = [round(theirs.wall / ours.wall, 3) for ours, theirs in pairs]
            in_cpu = [round(theirs.cpu / ours.cpu, 3) for ours, theirs in pairs]
            note = f"{tree.name}: {[round(theirs.wall, 3) for _, theirs in pairs]} s"
            figures += [_ratio(f"{title}, times as fast", in_wall, note), _ratio(f"{title}, times as cheap", in_cpu)]
    return figures


def _ratio(name: str, ratios: Sequence[float], note: str = "") -> Figure:
    spread = f"{min(ratios):g} to {max(ratios):g}"
    return Figure(
        name, round(statistics.median(ratios), 3), "x", None, "higher", ratios, f"{spread}; {note}" if note else spread
    )
