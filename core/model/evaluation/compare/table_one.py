"""Tables with the same content in Markdown and on the page: Table 1 beside the published one, values over length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.model.evaluation.compare.figures import figure, with_interval
from core.model.evaluation.compare.published import COUNTERPARTS, METRICS, OF_A_KIND, prefixes, tables
from core.model.evaluation.compare.results import MethodResults, Results, fact_of

ARROWS = {"lower": "\u2193", "higher": "\u2191", None: ""}
"""Beside the title of a value: what is better."""
_PUBLISHED = ("mawe", "scuts", "clip")


@dataclass(frozen=True)
class Table:
    """Heads and rows of text. Texts are not escaped."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_of_numbers: bool = True
    """Whether all columns but the first hold numbers."""


def heading(name: str) -> str:
    """The title of a value with what is better."""
    fact = fact_of(name)
    return f"{fact.title} {ARROWS[fact.better]}".rstrip()


def table_one(results: Results) -> Table:
    """Methods of this comparison with what is measured here, and beside them what is published; then the published
    methods that are not compared."""
    heads = ["method", *map(heading, results.headline)]
    heads += [f"published {METRICS[key].title} {ARROWS[METRICS[key].better]}" for key in _PUBLISHED]
    same = {name: row for name in results.methods if (row := _row_of(name)) is not None}
    rows = [
        [method.facts.title, *(_cell(results, name, value) for value in results.headline), *_figures(same.get(name))]
        for name, method in results.methods.items()
    ]
    for row in tables()["table_1"].rows:
        if row not in same.values():
            rows.append([f"{row}{_kind(results, row)}", *("" for _ in results.headline), *_figures(row)])
    return Table(heads, rows)


def _row_of(method: str) -> str | None:
    """The published row of the same method."""
    rows = COUNTERPARTS.get(method, {}).get("table_1", ())
    return rows[0] if rows and method not in OF_A_KIND else None


def _kind(results: Results, row: str) -> str:
    """Which compared methods are of the kind of a published row."""
    alike = [
        method.facts.title
        for name, method in results.methods.items()
        if name in OF_A_KIND and row in COUNTERPARTS[name].get("table_1", ())
    ]
    return f" (published; of the kind of {' and '.join(alike)})" if alike else " (published)"


def _figures(row: str | None) -> list[str]:
    figures = {} if row is None else tables()["table_1"].rows[row]
    return [f"{figures[key]:g}" if key in figures else "" for key in _PUBLISHED]


def _cell(results: Results, method: str, value: str) -> str:
    """Mean, interval and rank."""
    rank = results.ranks(value).get(method)
    text = mean_text(results.methods[method], value)
    return text if not text or rank is None else f"{text}, rank {rank}"


def mean_text(method: MethodResults, name: str) -> str:
    """A mean with its interval, and of how many videos if not of all."""
    found, videos = method.mean(name), len(method.values(name))
    if found is None:
        return ""
    text = with_interval(found)
    return text if videos == len(method.finished) else f"{text}, {videos} videos"


def prefix_table(results: Results) -> Table:
    """Values of the first frames of each video: a row per method and value."""
    lengths = results.prefixes
    rows = [
        [method.facts.title, heading(name), *(_prefix(method, name, length) for length in lengths)]
        for method in results.methods.values()
        for name in results.headline
    ]
    return Table(["method", "value", *(f"first {length}" for length in lengths)], rows)


def published_prefixes(results: Results) -> Table:
    """The published values of StreamingT2V at the lengths that are measured here; no rows if there is none."""
    published = prefixes()
    lengths = [length for length in published.frames if length in results.prefixes]
    rows = [
        [METRICS[key].title, *(f"{curve[published.frames.index(length)]:g}" for length in lengths)]
        for key, curve in published.curves.items()
        if lengths
    ]
    return Table(["published StreamingT2V", *(f"first {length}" for length in lengths)], rows)


def _prefix(method: MethodResults, name: str, length: int) -> str:
    found = method.mean(name, length)
    return "" if found is None else figure(found.value)


def all_values(results: Results) -> Table:
    """A row per value, a column per method."""
    rows = [
        [heading(name), *(mean_text(method, name) for method in results.methods.values())] for name in results.names
    ]
    return Table(["value", *(method.facts.title for method in results.methods.values())], rows)
