"""A delivery as a line of text: what a viewer had, over time. Pure, for terminals and files: only ASCII."""

from __future__ import annotations

from collections.abc import Mapping

from cli.output.delivery_rows import Kind, Row, segments

LETTERS: Mapping[Kind, str] = {"queued": ".", "first": "-", "buffer": "b", "playback": "=", "stall": "!"}
LEGEND = ". queued  - first chunk is made  b start-up buffer  = playback  ! stall"


def timeline(row: Row, seconds: float, width: int) -> str:
    """`width` characters for `seconds` > 0 since the generation was queued: each is what there was in its middle. Only
    a stall is seen however short it is."""
    cell = seconds / width
    letters = [" "] * width
    for segment in segments(row):
        first, end = round(segment.begins / cell), round(segment.ends / cell)
        for number in range(first, min(end, width)):
            letters[number] = LETTERS[segment.kind]
    for segment in segments(row):
        if segment.kind == "stall":
            letters[min(int(segment.begins / cell), width - 1)] = LETTERS["stall"]
    return "".join(letters).rstrip()


def axis(seconds: float, width: int) -> str:
    """The line above: where 0 and `seconds` are."""
    end = f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"0{end:>{max(1, width - 1)}}"
