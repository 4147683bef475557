"""What a report says, section by section: report.py writes it as Markdown, page.py as HTML with plots and videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from core.model.evaluation.compare.figures import with_interval
from core.model.evaluation.compare.mark import mark_of
from core.model.evaluation.compare.paired import FEWEST_PROMPTS, Gain, Verdict
from core.model.evaluation.compare.published import METRICS, prefixes
from core.model.evaluation.compare.results import Finding, MethodResults, Results, fact_of
from core.model.evaluation.compare.table_one import (
    Table,
    all_values,
    heading,
    prefix_table,
    published_prefixes,
    table_one,
)

VERDICTS: Sequence[Verdict] = get_args(Verdict)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    is_quiet: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Section:
    """Blocks under a title. Texts are not escaped."""

    title: str
    blocks: Sequence[Text | Items | Table]


VERDICT_NOTE = (
    "Differences are paired by prompt; above 0 the order is as published. Confirmed, or the reverse: the chance of a"
    " difference as large, if a coin decided which value of a prompt is whose, is at most 5 % (permutation test,"
    " two-sided). Else not clear. Too few differ: the two values differ for fewer than"
    f" {FEWEST_PROMPTS} prompts. Too few measured: more than one prompt in five lacks the value, as videos that stand"
    " still have no MAWE. Unequal training: a trial's small budget against a preset's long training, so the"
    " difference may be the training's, and there is no verdict. Each verdict errs for up to one tie in 20."
)
_OWN_NOTE = (
    "Means over videos with 95 % intervals (bootstrap over prompts) and, after them, the rank by the mean over the"
    " prompts that all methods have. Only the order of methods compares with the published one, never the numbers. The"
    " published MAWE is of the definition of the paper's second version, so it stands beside MAWE (v2)."
)
_SECONDS_NOTE = (
    "Seconds are of the method alone: without the first chunk that it was given, and without storing and measuring."
    " With --processes above 1, videos that are made at the same time slow one another. Another number of threads"
    " changes the rounding of sums."
)
_MOTION_NOTE = "OFS takes a hard cut for motion: a method with many cuts has a higher OFS than its motion."
ORDERS, OVER_LENGTH, VALUES = "Orders that the paper publishes", "Over length", "All values"
"""Titles of the sections that the page adds plots to."""


def sections(results: Results) -> list[Section]:
    """All of the report but its title, and but the videos of each prompt, which the page adds."""
    parts = [
        Section("Verdicts", [Text(verdict_summary(results.findings()))]),
        _unfinished(results),
        Section("Table 1", [table_one(results), Text(_OWN_NOTE, True), Text(mark_of(results), True)]),
        _orders(results),
        _against_first(results),
        Section(OVER_LENGTH, [prefix_table(results), *_published_over_length(results)]),
        Section(VALUES, [all_values(results), Items(_meanings(results)), Text(_MOTION_NOTE, True)]),
        Section("What was done", [Items(protocol_lines(results))]),
        Section("Methods", [_methods(results), Text(_SECONDS_NOTE, True)]),
    ]
    return [part for part in parts if part is not None]


def verdict_summary(findings: Sequence[Finding]) -> str:
    """How many comparisons by published orders have which verdict. Several methods may stand for the same rows."""
    if not findings:
        return "The paper publishes no order of these methods."
    counted = counts(findings)
    parts = ", ".join(f"{number} {verdict}" for verdict, number in counted.items())
    decided = counted.get("confirmed", 0) + counted.get("reverse", 0) + counted.get("not clear", 0)
    wrong = f" If {decided} were ties, up to {decided / 20:.1f} would be called decided by chance." if decided else ""
    published = len({(finding.ordering.metric, finding.ordering.published) for finding in findings})
    return f"{len(findings)} comparisons by {published} published orders: {parts}.{wrong}"


def counts(findings: Sequence[Finding]) -> dict[Verdict, int]:
    """How many findings have each verdict, of those that occur."""
    found = Counter(finding.verdict for finding in findings)
    return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}


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


def _unfinished(results: Results) -> Section | None:
    lines = [f"Not finished: {line}" for line in results.missing]
    for name, method in results.methods.items():
        lines += [f"Failed: {name}, {results.plan.prompts[index]}: {error}" for index, error in method.failures.items()]
    return Section("Not in the figures", [Items(lines)]) if lines else None


def _orders(results: Results) -> Section:
    rows = [_order(results, finding) for finding in results.findings()]
    if not rows:
        return Section(ORDERS, [Text("The paper publishes no order of these methods.")])
    heads = ("expected", "verdict", "difference", "chance", "prompts", "of them differ", "published")
    return Section(ORDERS, [Text(VERDICT_NOTE, True), Table(heads, rows, is_of_numbers=False)])


def _order(results: Results, finding: Finding) -> tuple[str, ...]:
    ordering, gained = finding.ordering, finding.gain
    better, worse = (results.methods[name].facts.title for name in (ordering.better, ordering.worse))
    metric = METRICS[ordering.metric]
    measured = "" if finding.measured_as is None else f" (measured: {fact_of(finding.measured_as).title})"
    expected = f"{better}: {metric.better} {metric.title} than {worse}{measured}"
    chance = "" if gained.chance is None else f"{gained.chance:.2g}"
    numbers = (_gain(gained), chance, str(gained.prompts), str(gained.differing))
    return (expected, finding.verdict, *numbers, ordering.published)


def _gain(found: Gain) -> str:
    return "" if found.interval is None else with_interval(found.interval)


def _against_first(results: Results) -> Section | None:
    """The first method against each other one, by the headline values."""
    first, *others = results.methods
    if not others or not results.headline:
        return None
    title = results.methods[first].facts.title
    rows: list[list[str]] = []
    for other in others:
        found = [results.gain(first, other, name, higher_is_better=True) for name in results.headline]
        unequal = "" if results.is_fair(first, other) else " (unequal training)"
        rows.append([f"{results.methods[other].facts.title}{unequal}", *map(_gain, found)])
    note = Text(f"Paired by prompt, {title} minus the other, with 95 % intervals.", True)
    return Section(f"{title} against the others", [Table(["against", *map(heading, results.headline)], rows), note])


def _published_over_length(results: Results) -> list[Text | Table]:
    table = published_prefixes(results)
    if not table.rows:
        return []
    return [Text(f"Published: {prefixes().title} ({prefixes().source}). {mark_of(results)}", True), table]


def _meanings(results: Results) -> list[str]:
    facts = [fact_of(name) for name in results.names]
    return [f"{fact.title}: {fact.meaning} {fact.source}".rstrip() for fact in facts]


def _methods(results: Results) -> Table:
    begins = {
        "all 16 frames": "the given first chunk",
        "its last frame": "the given first chunk, of which it reads the last frame",
        "no": "a first chunk of its own",
    }
    rows = [
        (
            f"{method.facts.title} ({name})",
            begins[method.facts.takes_first_chunk],
            "none that are known" if method.facts.borders is None else str(method.facts.borders),
            method.facts.training,
            "" if method.seconds is None else with_interval(method.seconds),
            method.facts.source,
            _made_by(method),
        )
        for name, method in results.methods.items()
    ]
    heads = ("method", "begins with", "seams", "training", "seconds per video", "source", "fingerprint")
    return Table(heads, rows, is_of_numbers=False)


def _made_by(method: MethodResults) -> str:
    """Fingerprints and CPU threads of its videos."""
    threads = [f"CPU threads {', '.join(map(str, method.threads))}"] if method.threads else []
    return "; ".join([*method.fingerprints, *threads])
