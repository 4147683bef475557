"""The report of a comparison as JSON, with every figure, and as Markdown."""

from __future__ import annotations

import html
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.metrics.bootstrap import Interval
from core.metrics.reports.markup import printable
from core.model.evaluation.compare.mark import mark_of
from core.model.evaluation.compare.plan import VERSION, write_json
from core.model.evaluation.compare.published import prefixes, tables
from core.model.evaluation.compare.results import MethodResults, Results, fact_of
from core.model.evaluation.compare.sections import Items, Section, Text, sections
from core.model.evaluation.compare.table_one import Table
from core.whole_files import write_whole


def title_of(results: Results) -> str:
    """Title of the report."""
    plan = results.plan
    return f"{len(plan.methods)} methods, {len(plan.prompts)} prompts, {plan.frames} frames, preset {plan.preset}"


def write_text_reports(results: Results, folder: Path) -> None:
    """Write compare.json and compare.md."""
    write_json(folder / "compare.json", content(results))
    write_whole(folder / "compare.md", f"# {title_of(results)}\n\n{markdown(results)}\n".encode())


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
                "differing": finding.gain.differing,
                "chance": finding.gain.chance,
                "verdict": finding.verdict,
            }
            for finding in results.findings()
        ],
        "published": {"mark": mark_of(results), "tables": {key: asdict(table) for key, table in tables().items()},
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
    return "\n\n".join(_section(section) for section in sections(results))


def _section(section: Section) -> str:
    blocks = [f"## {one_line(section.title)}"]
    for block in section.blocks:
        if isinstance(block, Text):
            blocks.append(one_line(block.text))
        elif isinstance(block, Items):
            blocks.append("\n".join(f"- {one_line(line)}" for line in block.lines))
        else:
            blocks.append(_table(block))
    return "\n\n".join(blocks)


def _table(table: Table) -> str:
    rows = [table.heads, ["---"] * len(table.heads), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)


def _cell(text: str) -> str:
    return text if text == "---" else one_line(text)


def one_line(text: str) -> str:
    """Text of others as text within a line of Markdown: it is neither a line break, nor a cell, nor markup."""
    escaped = html.escape(printable(" ".join(text.split())), quote=False)
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", escaped)


def _numbers(found: Interval | None) -> dict[str, float | None] | None:
    return None if found is None else {name: _finite(value) for name, value in asdict(found).items()}


def _finite(value: float | int | None) -> float | int | None:
    """JSON has no infinite numbers."""
    return value if value is not None and math.isfinite(value) else None
