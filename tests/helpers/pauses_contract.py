"""What ports.Pauses promises, for the fake and for Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.service.domain.ports import EVERYTHING, Pauses, PauseTarget

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MODEL, WORKER = "sprites", "sprites-0-4711@gpu-1"


class PausesContract:
    def test_nothing_is_paused_at_first(self, pauses: Pauses) -> None:
        assert pauses.of(MODEL, WORKER) is None
        assert pauses.all() == {}

    @pytest.mark.parametrize(
        ("target", "held", "free"),
        [
            (EVERYTHING, [(MODEL, WORKER), ("", "cpu-0-1@gpu-1/3")], []),
            (PauseTarget(model=MODEL), [(MODEL, WORKER)], [("other", WORKER), ("", "cpu-0-1@gpu-1")]),
            (
                PauseTarget(worker="sprites-0@gpu-1"),
                [(MODEL, WORKER), (MODEL, "sprites-0-12@gpu-1"), ("", f"{WORKER}/2")],
                [(MODEL, "sprites-1-4711@gpu-1"), (MODEL, "sprites-0-4711@gpu-2")],
            ),
            (PauseTarget(worker=WORKER), [(MODEL, WORKER), ("", f"{WORKER}/2")], [(MODEL, "sprites-0-12@gpu-1")]),
        ],
        ids=str,
    )
    def test_a_pause_holds_what_it_names(
        self, pauses: Pauses, target: PauseTarget, held: list[tuple[str, str]], free: list[tuple[str, str]]
    ) -> None:
        pauses.pause(target, NOW)
        assert [pauses.of(*one) for one in held] == [target] * len(held)
        assert [pauses.of(*one) for one in free] == [None] * len(free)
        assert pauses.resume(target)
        assert [pauses.of(*one) for one in held] == [None] * len(held)

    def test_the_widest_pause_is_named_and_each_ends_by_itself(self, pauses: Pauses) -> None:
        of_model, of_worker = PauseTarget(model=MODEL), PauseTarget(worker=WORKER)
        for target in (of_worker, of_model, EVERYTHING):
            pauses.pause(target, NOW)
        for target in (EVERYTHING, of_model, of_worker):
            assert pauses.of(MODEL, WORKER) == target
            pauses.resume(target)
        assert pauses.of(MODEL, WORKER) is None

    def test_a_pause_that_is_there_keeps_its_time(self, pauses: Pauses) -> None:
        pauses.pause(EVERYTHING, NOW)
        pauses.pause(EVERYTHING, NOW + timedelta(hours=1))
        pauses.pause(PauseTarget(worker=WORKER), NOW)
        pauses.pause(PauseTarget(model=MODEL), NOW)
        assert list(pauses.all().items()) == [
            (EVERYTHING, NOW),
            (PauseTarget(model=MODEL), NOW),
            (PauseTarget(worker=WORKER), NOW),
        ]

    def test_what_is_not_paused_cannot_be_resumed(self, pauses: Pauses) -> None:
        pauses.pause(PauseTarget(model=MODEL), NOW)
        assert not pauses.resume(EVERYTHING)
        assert pauses.of(MODEL, WORKER) == PauseTarget(model=MODEL)
