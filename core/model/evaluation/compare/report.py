"""The report of a comparison as JSON and Markdown: Table 1 beside the published one, verdicts, all values."""

from __future__ import annotations

import html
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.metrics.bootstrap import Interval
from core.model.evaluation.compare.paired import FEWEST_PROMPTS, Gain
from core.model.evaluation.compare.plan import VERSION, write_json
from core.model.evaluation.compare.published import MARK, METRICS, prefixes, tables
from core.model.evaluation.compare.results import MethodResults, Results, fact_of
from core.model.evaluation.compare.table_one import Table, all_values, heading, prefix_table, table_one


def title_of(results: Results) -> str:
    """Title of the report."""
    plan = results.plan
    return f"{len(plan.methods)} methods, {len(plan.prompts)} prompts, {plan.frames} frames, preset {plan.preset}"


def write_text_reports(results: Results, folder: Path) -> None:
    """Write compare.json and compare.md."""
    write_json(folder / "compare.json", content(results))
    (folder / "compare.md").write_text(f"# {title_of(results)}\n\n{markdown(results)}\n", encoding="utf-8")


def content(results: Results) -> dict[str, Any]:
    """All figures, for programs. Numbers that are not known are null."""
    names = results.names
    return {
        "version": VERSION,
        "title": title_of(results),
        "plan": asdict(results.plan),
        "measured_by": dict(results.by),
        "not_finished": results.missing,
        "values": {name: asdict(fact_of(name)) for name in names},
        "methods": {key: _method(results, key, method) for key, method in results.methods.items()},
        "differences": [
            _difference(results, first, second, name)
            for position, first in enumerate(results.methods)
            for second in list(results.methods)[position + 1 :]
            for name in names
        ],
        "orderings": [
            {
                **asdict(finding.ordering),
                "measured_as": finding.measured_as,
                "gain": _numbers(finding.gain.interval),
                "prompts": finding.gain.prompts,
                "verdict": finding.gain.verdict,
            }
            for finding in results.findings()
        ],
        "published": {"mark": MARK, "tables": {key: asdict(table) for key, table in tables().items()},
                      "prefixes": asdict(prefixes())},
    }  # fmt: skip


def _method(results: Results, key: str, method: MethodResults) -> dict[str, Any]:
    return {
        "facts": asdict(method.facts),
        "fingerprints": method.fingerprints,
        "threads": method.threads,
        "finished": len(method.finished),
        "failures": {results.plan.prompts[index]: error for index, error in method.failures.items()},
        "seconds_per_video": _numbers(method.seconds),
        "means": {
            name: {
                **(_numbers(method.mean(name)) or {}),
                "videos": len(method.values(name)),
                "rank": results.ranks(name).get(key),
            }
            for name in results.names
            if method.values(name)
        },
        "prefixes": {
            str(length): {
                name: _numbers(mean)
                for name in results.headline
                if (mean := method.mean(name, length)) is not None
            }
            for length in results.prefixes
        },
        "by_prompt": {
            str(index): {name: _finite(value) for name, value in video.measured.whole.values.items()}
            for index, video in method.finished.items()
        },
    }  # fmt: skip


def _difference(results: Results, first: str, second: str, name: str) -> dict[str, Any]:
    """First minus second, whatever is better."""
    found = results.gain(first, second, name, higher_is_better=True)
    return {
        "first": first,
        "second": second,
        "value": name,
        "difference": _numbers(found.interval),
        "prompts": found.prompts,
    }


def markdown(results: Results) -> str:
    """The report without its title."""
    parts = [
        _unfinished(results),
        "\n".join(f"- {one_line(line)}" for line in protocol_lines(results)),
        f"## Table 1\n\n{_table(table_one(results))}\n\n{TABLE_NOTE}",
        f"## Orders that the paper publishes\n\n{VERDICT_NOTE}\n\n{_orders(results)}",
        _against_first(results),
        f"## All values\n\n{_table(all_values(results))}\n\n{_meanings(results)}",
        f"## Over length\n\n{_table(prefix_table(results))}",
        f"## Methods\n\n{_methods(results)}",
    ]
    return "\n\n".join(part for part in parts if part)


TABLE_NOTE = (
    "Means over videos with 95 % intervals (bootstrap over prompts) and, after them, the rank. Only the order of"
    " methods compares with the published one, never the numbers. The published MAWE is of the definition of the"
    " paper's second version, so it stands beside MAWE (v2)."
)
VERDICT_NOTE = (
    "Differences are paired by prompt; above 0 the order is as published. `confirmed`: the 95 % interval (bootstrap"
    " over prompts) excludes 0; `reverse`: it does on the other side; else `not clear`. Fewer than"
    f" {FEWEST_PROMPTS} prompts decide nothing. Of 20 orders that are ties, about one is called decided by chance."
)


def protocol_lines(results: Results) -> list[str]:
    """What was done, in sentences."""
    plan = results.plan
    by = ", ".join(f"{what} {value}" for what, value in results.by.items()) or "nothing yet"
    return [
        f"Prompts: {plan.prompts_from}. Seeds: {plan.seed} for the first prompt, one more for each next one.",
        "First 16 frames: made once per prompt by the preset's first-chunk source, and the same for all methods that"
        " can begin with given frames.",
        f"Measured by: {by}.",
        *plan.notes,
        *(f"{note} ({count} of {results.num_finished} videos)" for note, count in results.notes),
        *(f"Not compared: {name}: {reason}" for name, reason in plan.left_out.items()),
    ]


def _unfinished(results: Results) -> str:
    missing = f"**Not finished, so not in the figures:** {'; '.join(results.missing)}." if results.missing else ""
    failures = [
        f"- `{name}`, {one_line(results.plan.prompts[index])}: {one_line(error)}"
        for name, method in results.methods.items()
        for index, error in method.failures.items()
    ]
    return "\n\n".join(part for part in (missing, "\n".join(["**Failed:**", *failures]) if failures else "") if part)


def _table(table: Table) -> str:
    lines = [f"| {' | '.join(table.heads)} |", "|---" * len(table.heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table.rows)])


def _orders(results: Results) -> str:
    lines = ["| expected | published | difference | verdict | prompts |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in order_rows(results)]
    return "\n".join(lines) if len(lines) > 2 else "The paper publishes no order of these methods."


def order_rows(results: Results) -> list[tuple[str, str, str, str, str]]:
    """Of each published ordering: expected, published, difference, verdict, prompts."""
    rows: list[tuple[str, str, str, str, str]] = []
    for finding in results.findings():
        ordering = finding.ordering
        titles = [results.methods[name].facts.title for name in (ordering.better, ordering.worse)]
        metric = METRICS[ordering.metric]
        measured = "" if finding.measured_as is None else f" (measured: {fact_of(finding.measured_as).title})"
        expected = f"{titles[0]}: {metric.better} {metric.title} than {titles[1]}{measured}"
        rows.append(
            (expected, ordering.published, _gain(finding.gain), finding.gain.verdict, str(finding.gain.prompts))
        )
    return rows


def _gain(found: Gain) -> str:
    return "" if found.interval is None else str(found.interval)


def _against_first(results: Results) -> str:
    """The first method against each other one, by the headline values."""
    first, *others = results.methods
    if not others or not results.headline:
        return ""
    title = results.methods[first].facts.title
    lines = [
        f"## {title} against the others",
        "",
        f"Paired by prompt, {title} minus the other, with 95 % intervals.",
        "",
        f"| | {' | '.join(map(heading, results.headline))} |",
        "|---" * (1 + len(results.headline)) + "|",
    ]
    for other in others:
        found = [results.gain(first, other, name, higher_is_better=True) for name in results.headline]
        lines.append(f"| {results.methods[other].facts.title} | {' | '.join(map(_gain, found))} |")
    return "\n".join(lines)


def _meanings(results: Results) -> str:
    return "\n".join(f"- {fact_of(name).title}: {fact_of(name).meaning}" for name in results.names)


def _methods(results: Results) -> str:
    lines = ["| method | begins with | seconds per video | source | fingerprint |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(map(one_line, row))} |" for row in method_rows(results)]
    return "\n".join([*lines, "", SECONDS_NOTE])


SECONDS_NOTE = (
    "Seconds are of the method alone: without the first chunk that it was given, and without storing and measuring."
    " With `--processes` above 1, videos that are made at the same time slow one another."
)


def method_rows(results: Results) -> list[tuple[str, str, str, str, str]]:
    """Of each method: title, what it begins with, seconds per video, source, fingerprint."""
    begins = {
        "all 16 frames": "the given first chunk",
        "its last frame": "the given first chunk, of which it reads the last frame",
        "no": "a first chunk of its own",
    }
    return [
        (
            f"{method.facts.title} ({name})",
            begins[method.facts.takes_first_chunk],
            "" if method.seconds is None else str(method.seconds),
            method.facts.source,
            _made_by(method),
        )
        for name, method in results.methods.items()
    ]


def _made_by(method: MethodResults) -> str:
    """Fingerprints and CPU threads of its videos."""
    threads = f"{', '.join(map(str, method.threads))} threads" if method.threads else ""
    return "; ".join([*method.fingerprints, *([threads] if threads else [])])


def one_line(text: str) -> str:
    """Text of others as text within a line of Markdown: it is neither a line break, nor a cell, nor markup."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", escaped)


def _numbers(found: Interval | None) -> dict[str, float | None] | None:
    return None if found is None else {name: _finite(value) for name, value in asdict(found).items()}


def _finite(value: float | int | None) -> float | int | None:
    """JSON has no infinite numbers."""
    return value if value is not None and math.isfinite(value) else None
