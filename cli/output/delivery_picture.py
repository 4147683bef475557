"""A delivery as a line: what a viewer had, over time. Pure, for terminals and files: only ASCII."""

from __future__ import annotations

from collections.abc import Sequence

from core.metrics.delivery.measure import RunDelivery, VariantDelivery

QUEUED, FIRST, BUFFER, PLAYBACK, STALL = ".", "-", "b", "=", "!"
LEGEND = f"{QUEUED} queued  {FIRST} first chunk is made  {BUFFER} start-up buffer  {PLAYBACK} playback  {STALL} stall"


def timeline(run: RunDelivery, made: VariantDelivery | None, seconds: float, width: int) -> str:
    """`width` characters for `seconds` since the generation was queued. A stall is seen however short it is."""
    if made is None or seconds <= 0:
        return ""
    cell = seconds / width
    letters = [_at((number + 0.5) * cell, run, made) for number in range(width)]
    for stall in made.viewing.stalls:
        first, last = int(stall.at / cell), int((stall.at + stall.seconds) / cell - 1e-9)
        for number in range(min(first, width - 1), min(max(first, last), width - 1) + 1):
            letters[number] = STALL
    return "".join(letters).rstrip()


def _at(at: float, run: RunDelivery, made: VariantDelivery) -> str:
    begins = (
        (run.queue_seconds or 0.0, QUEUED),
        (made.first_chunk_seconds, FIRST),
        (made.viewing.begins_at, BUFFER),
        (made.viewing.ends_at, PLAYBACK),
    )
    return next((letter for until, letter in begins if at < until), " ")


def axis(seconds: float, width: int) -> str:
    """The line above: where 0 and `seconds` are."""
    end = f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"0{end:>{max(1, width - 1)}}"


def verdict(made: VariantDelivery | None) -> str:
    """The stalls in words."""
    if made is None:
        return "no chunk"
    stalls: Sequence[object] = made.viewing.stalls
    if not stalls:
        return "no stall"
    return f"{len(stalls)} stall{'s' if len(stalls) > 1 else ''}, {made.viewing.stalled_seconds:.1f} s"
