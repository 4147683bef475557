"""What a job in the queue is told: its place among the new ones, and when it starts. Pure.

Both follow from core.service.domain.scheduling and are estimates: later jobs of better classes, and of owners that were
served less, go first, and nobody knows how long jobs are that come later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from core.service.domain.scheduling import Entry, Pool, age_order
from core.service.domain.schema import Lane

COUNTED_OWNERS = 64
"""Owners whose jobs are counted one by one for a place, the least served first."""


def position(entry: Entry, free: Iterable[Entry], pool: Pool) -> int:
    """The place of a new job among the new ones of its lane, 1 = next to start: every better class comes first, and the
    owners of its class take turns.

    `free`: the jobs that can be claimed now, begun ones too. What one place costs must not grow with the owners: those
    behind the first COUNTED_OWNERS are taken to have the mean of their new jobs each, and then the place is an
    estimate, at most too high."""
    others = [each for each in free if each.lane is entry.lane and each.key != entry.key]
    before = sum(each.priority < entry.priority and not each.begun for each in others)
    of_class = [each for each in others if each.priority == entry.priority]
    new = Counter(each.owner for each in of_class if not each.begun)
    own = sum(each.owner == entry.owner and not each.begun and age_order(each) < age_order(entry) for each in of_class)
    left = new.total() - new[entry.owner]
    turns = sorted((pool.served_of(owner), owner) for owner in {each.owner for each in of_class} - {entry.owner})
    is_first = [turn < (pool.served_of(entry.owner), entry.owner) for turn in turns]
    for (_, owner), first in zip(turns[:COUNTED_OWNERS], is_first, strict=False):
        before += min(new[owner], own + first)
        left -= new[owner]
    if behind := is_first[COUNTED_OWNERS:]:
        mean, first = left / len(behind), sum(behind)
        before += int(first * min(mean, own + 1) + (len(behind) - first) * min(mean, own))
    return 1 + before + own


@dataclass(frozen=True)
class Backlog:
    """Jobs of the generate lane, claimed ones too, and the pieces that are left of them."""

    new_jobs: int
    new_pieces: int
    begun_jobs: int
    begun_pieces: int

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Backlog:
        listed = list(entries)
        new, begun = ([each.pieces for each in listed if each.begun is is_begun] for is_begun in (False, True))
        return cls(len(new), sum(new), len(begun), sum(begun))


def wait_seconds(place: int, backlog: Backlog, pool: Pool) -> float | None:
    """Seconds until the new job at `place` starts. None if no piece was ever measured.

    It starts at once while the workers carry more begun jobs than there are (`Pool.carried`), else when enough jobs
    have ended. The begun ones end one after the other, evenly spread: the last when the workers that are busy now have
    made twice what is left of all of them, because new ones are worked at meanwhile (one worker: once, as none is).
    Then those that start before it, each taken as the mean of the new ones.
    """
    mean_seconds, workers = pool.mean_seconds.get(Lane.GENERATE), max(1, len(pool.charges))
    if mean_seconds is None:
        return None
    begun = backlog.begun_jobs
    ends = max(0.0, place + begun - max(pool.carried, 1.0))
    of_begun = 2 * backlog.begun_pieces / (begun + 1) * min(ends, begun)
    of_new = max(0.0, ends - begun) * backlog.new_pieces / max(1, backlog.new_jobs)
    return mean_seconds * (of_begun + of_new) / workers
