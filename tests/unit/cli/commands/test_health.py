"""`longtake health worker`: which workers count, and its messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from cli.commands.health import worker_health
from core.service.domain.ports import WorkerState, WorkerStatus


def worker(
    host: str = "here",
    kind: Literal["generate", "cpu"] = "generate",
    state: WorkerState = "ready",
) -> WorkerStatus:
    return WorkerStatus(
        name=f"sprites-0-17@{host}",
        kind=kind,
        model="sprites",
        state=state,
        reason="weights are missing" if state == "not_ready" else None,
        device="cpu",
        pid=17,
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def test_a_busy_worker_is_healthy() -> None:
    assert worker_health([worker(state="busy")], "generate", "here") == (True, "sprites-0-17@here busy")


def test_a_worker_of_another_host_or_kind_does_not_count() -> None:
    others = [worker(host="there"), worker(kind="cpu")]
    assert worker_health(others, "generate", "here") == (False, "no generate worker of here has reported")


def test_one_worker_that_cannot_work_makes_the_host_unhealthy_and_says_why() -> None:
    healthy, words = worker_health([worker(), worker(state="not_ready")], "generate", "here")
    assert not healthy
    assert "weights are missing" in words


def test_a_worker_that_loads_is_healthy_but_not_ready() -> None:
    starting = [worker(), worker(state="starting")]
    assert worker_health(starting, "generate", "here")[0]
    assert not worker_health(starting, "generate", "here", ready=True)[0]


def test_a_worker_that_works_is_ready() -> None:
    assert worker_health([worker(), worker(state="busy")], "generate", "here", ready=True)[0]
