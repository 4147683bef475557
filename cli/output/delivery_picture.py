"""A delivery as a line of text: what a viewer had, over time. Pure, for terminals and files: only ASCII."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cli.output.delivery_rows import Kind, Row, segments

LETTERS: Mapping[Kind, str] = {"queued": ".", "first": "-", "buffer": "b", "playback": "=", "stall": "!"}
BRIEF_STALL = "i"
LEGEND = ". queued  - first chunk is made  b start-up buffer  = playback  ! stall  i brief"
HALF = 0.5 - 1e-9
"""Of a letter's time, but for rounding."""


def timeline(row: Row, seconds: float, width: int) -> str:
    """`width` characters for `seconds` > 0 since the generation was queued: each is what there was for most of its
    time. It is a stall if stalls fill at least half of it, and BRIEF_STALL if there are shorter ones, however short."""
    cell = seconds / width
    shares = [dict.fromkeys(LETTERS, 0.0) for _ in range(width)]
    for segment in segments(row):
        for number in range(int(segment.begins / cell), min(math.ceil(segment.ends / cell), width)):
            begins, ends = max(segment.begins, number * cell), min(segment.ends, (number + 1) * cell)
            shares[number][segment.kind] += max(0.0, ends - begins) / cell
    return "".join(map(_letter, shares)).rstrip()


def _letter(shares: Mapping[Kind, float]) -> str:
    """`shares`: of the letter's time, by kind."""
    if shares["stall"] >= HALF:
        return LETTERS["stall"]
    if shares["stall"]:
        return BRIEF_STALL
    longest = max(shares, key=lambda kind: shares[kind])
    # Less than half is nothing at all: the end of the line.
    return LETTERS[longest] if sum(shares.values()) >= HALF else " "


def axis(seconds: float, width: int) -> str:
    """The line above: where 0 and `seconds` are."""
    end = f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"0{end:>{max(1, width - 1)}}"
