"""Which slots of a machine, and which of its pools, have had no process that is ready for long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.service.domain.ports import WorkerStatus

DOWN_SECONDS = 600.0
"""Without a process that is ready for longer than this is down. Most load in less."""


class Unready:
    """Since when slots (by number), and pools that have slots (by model), have had no process that is ready. A pool is
    remembered apart from its slots, so that it is not tried on one slot after the other while others need them."""

    def __init__(self) -> None:
        self._since = dict[int | str, float]()

    def note(self, slots: Sequence[tuple[str | None, str | None]], workers: Iterable[WorkerStatus], now: float) -> None:
        """What a look saw: of each slot the name of its process and its model, and what workers report."""
        reported = {(worker.name, worker.model) for worker in workers if worker.is_ready}
        ready = {number for number, slot in enumerate(slots) if slot in reported}
        models = {model for _, model in slots if model is not None} - {slots[number][1] for number in ready}
        unready: set[int | str] = {*range(len(slots))} - ready | models
        self._since = {each: self._since.get(each, now) for each in unready}

    def forget(self, number: int) -> None:
        """The slot moves: what it was says nothing of what it will be."""
        self._since.pop(number, None)

    def forget_all(self) -> None:
        """They cannot be seen now, and may change meanwhile."""
        self._since.clear()

    def is_down(self, which: int | str, now: float) -> bool:
        return now - self._since.get(which, now) > DOWN_SECONDS
