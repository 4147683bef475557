"""The report of a run: recovery times by kind of fault, as a table and as JSON for benchmarks/results."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks import machine
from tests.chaos.evidence import Evidence, InjectedFault, JobEvidence
from tests.chaos.invariants import Violation, pieces_at_risk, pieces_repeated
from tests.helpers.webhook_receiver import Attempt

SLOW_ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class Recovery:
    """Of one kind of fault: how often, and seconds from its lift to the next commit (of the job hit, where one was)."""

    fault: str
    thrown: int
    skipped: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def p90(self) -> float | None:
        ordered = sorted(self.seconds)
        return ordered[math.ceil(0.9 * len(ordered)) - 1] if ordered else None

    @property
    def longest(self) -> float | None:
        return max(self.seconds, default=None)


def recoveries(evidence: Evidence) -> list[Recovery]:
    """One for each kind of fault that the schedule held, by name."""
    by_name: dict[str, list[InjectedFault]] = defaultdict(list)
    for thrown in evidence.thrown:
        by_name[thrown.name].append(thrown)
    return [_recovery(name, all_of_it, evidence) for name, all_of_it in sorted(by_name.items())]


def _recovery(name: str, thrown: Sequence[InjectedFault], evidence: Evidence) -> Recovery:
    hits = [each for each in thrown if each.skipped is None]
    seconds = [seconds for each in hits for seconds in _seconds_to_commit(each, evidence)]
    return Recovery(name, len(hits), len(thrown) - len(hits), tuple(round(value, 3) for value in seconds))


def _seconds_to_commit(thrown: InjectedFault, evidence: Evidence) -> Iterator[float]:
    """None where no work was waiting when it was lifted, or the job that it hit made no more commit."""
    if thrown.job_id is not None and thrown.job_id in evidence.jobs:
        jobs = [evidence.jobs[thrown.job_id]]
    else:
        jobs = [found for found in evidence.jobs.values() if _unfinished_at(found, thrown.wall)]
    later = [at - thrown.wall for found in jobs for at in _commits(found) if at > thrown.wall]
    if later:
        yield min(later)


def _unfinished_at(found: JobEvidence, wall: float) -> bool:
    if found.answer is None or found.answer["finished_at"] is None:
        return False
    return _wall(found.answer["created_at"]) < wall < _wall(found.answer["finished_at"])


def _commits(found: JobEvidence) -> list[float]:
    """Wall-clock times of a job's commits, as its manifest has them."""
    manifest = found.manifest or {}
    return [_wall(chunk["created_at"]) for made in ("chunks", "refined") for chunk in manifest.get(made, ())]


def _wall(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def table(evidence: Evidence) -> Table:
    """One row per kind of fault."""
    shown = Table(title="seconds from a fault's end to the next commit", title_justify="left")
    for column in ("fault", "thrown", "out", "median", "p90", "max"):
        shown.add_column(column, justify="left" if column == "fault" else "right", no_wrap=True)
    for row in recoveries(evidence):
        times = ["" if value is None else f"{value:.1f}" for value in (row.median, row.p90, row.longest)]
        shown.add_row(row.fault, str(row.thrown), str(row.skipped or ""), *times)
    return shown


def as_json(evidence: Evidence, violations: Sequence[Violation], run: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of a run that is kept. `run`: seed and options."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "run": dict(run),
        "jobs": _job_counts(evidence),
        "api": _api_counts(evidence),
        "work": {"pieces_repeated": pieces_repeated(evidence), "pieces_at_risk": pieces_at_risk(evidence)},
        "faults": [
            {**asdict(row), "median": row.median, "p90": row.p90, "max": row.longest} for row in recoveries(evidence)
        ],
        "thrown": [asdict(thrown) for thrown in evidence.thrown],
        "violations": [asdict(violation) for violation in violations],
    }


def _job_counts(evidence: Evidence) -> dict[str, Any]:
    accepted = [submission for submission in evidence.submissions if submission.job_id is not None]
    numbers = {submission.planned.number for submission in evidence.submissions if submission.job_id is None}
    found = Counter(str(evidence.jobs[str(submission.job_id)].status or "deleted") for submission in accepted)
    return {
        "submitted": len(evidence.submissions),
        "accepted": len(accepted),
        "not_accepted_and_there": len(numbers & set(evidence.listed.values())),
        "ended": dict(found),
        "chunks": sum(len(each.chunks) for each in evidence.jobs.values()),
        "webhooks": _webhook_counts(evidence.tries),
    }


def _webhook_counts(tries: Sequence[Attempt]) -> dict[str, int]:
    """`repeated`: accepted more than once, as at-least-once allows."""
    accepted = [attempt.headers.items() for attempt in tries if attempt.answered < 300]
    ids = [value for headers in accepted for name, value in headers if name.lower() == "webhook-id"]
    return {"tries": len(tries), "accepted": len(ids), "repeated": len(ids) - len(set(ids))}


def _api_counts(evidence: Evidence) -> dict[str, Any]:
    seconds = sorted(call.seconds for call in evidence.calls)
    return {
        "calls": len(seconds),
        "by_status": dict(Counter(str(call.status or call.error) for call in evidence.calls)),
        "slower_than_2_s": sum(value > SLOW_ANSWER_SECONDS for value in seconds),
        "p99_seconds": round(seconds[math.ceil(0.99 * len(seconds)) - 1], 3) if seconds else None,
        "max_seconds": round(seconds[-1], 3) if seconds else None,
    }


def write(content: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
