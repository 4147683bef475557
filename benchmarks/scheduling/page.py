"""`python -m benchmarks.scheduling.page`: writes the tables of docs/scheduling.md from the simulator's results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "scheduling.md"
RESULTS = Path(__file__).parents[1] / "results" / "cpu-2-cores-scheduling.json"
BEGIN, END = "<!-- tables: python -m benchmarks.scheduling.page -->", "<!-- end of tables -->"
POLICIES = ("turns", "oldest first", "ours")
TOLD = (
    "starts_in_seconds at submission",
    "starts_in_seconds at half the wait",
    "eta_seconds at submission",
)
Rows = Mapping[str, Mapping[str, Any]]
"""Figures by name."""


def page(text: str, results: Mapping[str, Any]) -> str:
    """`text` of the page with the tables of these results."""
    rows = {row["name"]: row for row in results["figures"]}
    tables = "\n\n".join([_watched(rows), _mixed(rows), _told(rows), _others(rows)])
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def _watched(rows: Rows) -> str:
    """A line for each stream: jobs with a stall and p95 of the first chunk, of each policy."""
    streams = dict.fromkeys(found[1] for name in rows if (found := re.match(r"(speed .*), turns: stalls", name)))
    lines = [_line(stream, rows) for stream in streams]
    head = "| jobs with a stall / first chunk p95, in times the idle one | turns | oldest first | ours |"
    return "\n".join([head, "|---|---|---|---|", *lines])


def _line(stream: str, rows: Rows) -> str:
    cells = list[str]()
    for policy in POLICIES:
        stalled, all_jobs = re.findall(r"\d+", rows[f"{stream}, {policy}: stalls a job"]["note"])[:2]
        p95 = rows[f"{stream}, {policy}: first chunk p95, of the idle one"]["value"]
        cells.append(f"{100 * int(stalled) / int(all_jobs):.3g} % / {p95:g} x")
    return _row([stream, *cells])


def _mixed(rows: Rows) -> str:
    """A line for each stream whose jobs cost differently: stalls and first chunks of the cheap ones."""
    streams = dict.fromkeys(found[1] for name in rows if (found := re.match(r"(mixed .*), ours: stalls", name)))
    lines = list[str]()
    for stream in streams:
        cells = list[str]()
        for policy in ("without room", "ours"):
            stalled, all_jobs = re.findall(r"\d+", rows[f"{stream}, {policy}: stalls a cheap job"]["note"])[:2]
            p95 = rows[f"{stream}, {policy}: first chunk p95 of cheap jobs, of the idle one"]["value"]
            cells.append(f"{stalled} of {all_jobs} / {p95:g} x")
        lines.append(_row([stream, *cells]))
    head = "| of the cheap jobs: those with a stall / first chunk p95, in times the idle one | without room | ours |"
    return "\n".join([head, "|---|---|---|", *lines])


def _told(rows: Rows) -> str:
    """A line for each stream: the errors of what its jobs were told, within what nine tenths are, and their median."""
    streams = dict.fromkeys(found[1] for name in rows if (found := re.match(r"told, (speed .*%), ", name)))
    lines = list[str]()
    for stream in streams:
        of_stream = [rows[f"told, {stream}, {what}: 90 % of errors are within"] for what in TOLD]
        notes = [row["note"].split(" jobs, median ") for row in of_stream]
        cells = [
            f"{row['value']:g} % / {median} ({jobs})" for row, (jobs, median) in zip(of_stream, notes, strict=True)
        ]
        lines.append(_row([stream, *cells]))
    head = f"| {' | '.join(['error of what jobs are told: 90 % are within / median (jobs)', *TOLD])} |"
    return "\n".join([head, "|---|---|---|---|", *lines])


def _others(rows: Rows) -> str:
    """A line for each figure that is not of a stream with viewers."""
    shown = [row for name, row in rows.items() if not name.startswith(("speed ", "mixed ", "told, "))]
    lines = [_row([row["name"], f"{row['value']:g} {row['unit']}".strip(), row["note"]]) for row in shown]
    return "\n".join(["| figure | value | note |", "|---|---|---|", *lines])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text(encoding="utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
