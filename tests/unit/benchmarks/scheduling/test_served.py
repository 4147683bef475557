"""What the real run compares with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from benchmarks.scheduling import served
from benchmarks.scheduling.served import ALONE, WATCHED, Served
from benchmarks.scheduling.workload import SimulatedJob
from tests.helpers.service import Service


def test_first_chunks_are_compared_with_those_of_jobs_that_were_alone_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone a first chunk takes 1 s; under load a worker has it for 3 s, and it comes after 6 s."""
    posted = list[int]()

    def run(_service: Service, _model: str, jobs: Sequence[SimulatedJob], _slowed: float) -> list[Served]:
        posted.append(len(jobs))
        seconds, worked = (1.0, 0.9) if len(jobs) == 1 else (6.0, 3.0)
        return [Served("", 0.0, [seconds], [worked]) for _ in jobs]

    monkeypatch.setattr(served, "run", run)
    _, first = served.watched(cast(Any, None), WATCHED, "fast", lambda _: None)
    assert posted == [1] * ALONE + [WATCHED.count]
    assert first.value == 6.0
