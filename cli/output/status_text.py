"""Words, styles and tables of `longtake status`."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

WARNING, ALARM, QUIET = "bold yellow", "bold red", "dim"
MINUTE, HOUR, DAY = 60, 3600, 86400
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def printable(text: str) -> str:
    """The text without control characters: a terminal obeys them."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def shortened_inside(text: str, most: int) -> str:
    """At most `most` characters (3 or more) of it, its beginning and its end: names differ at both."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}{ELLIPSIS}{text[-tail:]}"


def duration(seconds: float) -> str:
    """At most six characters: 4.2 s, 42 s, 12 min, 3.5 h, 12 d."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} d"


def plain_table(texts: Iterable[str], numbers: Iterable[str]) -> Table:
    """An empty table: columns of texts, of which the first is folded if it is too long, then of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style=QUIET)
    for name in texts:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    table.columns[0].overflow = "fold"
    return table
