"""When a queued job will be ready: its wait, and its own work at the speed of chunks made lately; nothing is told where
nobody makes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.backends.readiness import KEPT_SECONDS
from api.backends.serving import Serving
from api.routes.answers import Forecasts
from core.service.domain.ports import EVERYTHING, LiveStatus, PauseTarget, WorkerStatus
from core.service.domain.schema import JobStatus
from core.service.testing.clock import FAKE_START
from tests.helpers.api_world import World, submit
from tests.helpers.jobs import queued_job

WORKER = "fake-0-7@gpu-1"
WAITS = LiveStatus(queue_position=2, wait_seconds=30.0)
FORECAST = ("starts_in_seconds", "eta_seconds")


def worker(**changes: Any) -> WorkerStatus:
    values: dict[str, Any] = {"kind": "both", "model": "fake", "state": "ready", "device": "cpu", "pid": 7}
    return WorkerStatus(name=WORKER, started_at=FAKE_START, **{**values, **changes})


@pytest.fixture
def world(world: World) -> World:
    world.speeds.report("fake", "first", 1.0)
    world.speeds.report("fake", "next", 0.5)
    return world


def told(world: World, live: LiveStatus = WAITS, **changes: Any) -> tuple[float | None, float | None]:
    job = queued_job(model="fake", num_frames=48, num_inference_steps=4).model_copy(update=changes)
    progress = Forecasts(world.ports()).progress(job, live)
    return progress.starts_in_seconds, progress.eta_seconds


def test_of_a_queued_job_wait_and_work_count(world: World) -> None:
    world.workers.report(worker(), 60)
    assert told(world) == (30.0, 30.0 + 4.0 + 2 * 2.0)


def test_of_no_other_job_anything_is_asked(world: World) -> None:
    class Refusing:
        def of(self, *_asked: str) -> Any:
            raise AssertionError("nothing should be read")

        all = of

    ports = replace(world.ports(), speeds=Refusing(), workers=Refusing(), pauses=Refusing())  # type: ignore[arg-type]
    running = queued_job().model_copy(update={"status": JobStatus.RUNNING})
    Forecasts(ports).progress(running, WAITS)
    Forecasts(ports).progress(queued_job(), LiveStatus(queue_position=2))


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        ({"state": "busy"}, True),
        ({"state": "starting"}, True),
        ({"kind": "generate"}, True),
        ({"kind": "refine"}, False),
        ({"state": "not_ready"}, False),
        ({"state": "draining"}, False),
        ({"model": "other"}, False),
    ],
)
def test_a_forecast_needs_a_worker_that_generates_that_model(
    world: World, changes: dict[str, Any], is_told: bool
) -> None:
    world.workers.report(worker(**changes), 60)
    assert (told(world) != (None, None)) is is_told


@pytest.mark.parametrize(
    ("target", "is_told"),
    [
        (EVERYTHING, False),
        (PauseTarget(model="fake"), False),
        (PauseTarget(worker="fake-0@gpu-1"), False),
        (PauseTarget(model="other"), True),
        (PauseTarget(worker="fake-1@gpu-1"), True),
    ],
    ids=str,
)
def test_a_pause_that_holds_all_its_workers_leaves_no_forecast(
    world: World, target: PauseTarget, is_told: bool
) -> None:
    world.workers.report(worker(), 60)
    world.pauses.pause(target, world.clock.now())
    assert (told(world) != (None, None)) is is_told


def test_one_worker_that_is_not_paused_is_enough(world: World) -> None:
    for number in (0, 1):
        world.workers.report(worker().model_copy(update={"name": f"fake-{number}-7@gpu-1"}), 60)
    world.pauses.pause(PauseTarget(worker="fake-0@gpu-1"), world.clock.now())
    assert told(world) != (None, None)


def test_workers_and_pauses_are_read_once_a_second(world: World) -> None:
    now, reads = [0.0], list[float]()

    class Counting:
        def all(self) -> list[WorkerStatus]:
            reads.append(now[0])
            return [worker()]

    serving = Serving(Counting(), world.pauses, monotonic=lambda: now[0])  # type: ignore[arg-type]
    assert [serving.makes("fake"), serving.makes("other"), serving.makes("fake")] == [True, False, True]
    world.pauses.pause(EVERYTHING, world.clock.now())
    now[0] = KEPT_SECONDS + 0.1
    assert not serving.makes("fake")
    assert len(reads) == 2


@pytest.fixture
def waiting(world: World) -> Iterator[tuple[TestClient, str]]:
    """A job that waits while a worker generates that model, which has made a chunk before."""
    world.workers.report(worker(), 3600)
    with world.client() as api:
        made = submit(api, num_frames=16)
        world.finish(made)
        yield api, submit(api, num_frames=16)


def test_every_answer_about_a_waiting_job_says_the_same(waiting: tuple[TestClient, str], world: World) -> None:
    api, job_id = waiting
    seen = api.get(f"/jobs/{job_id}")
    assert all(seen.json()["progress"][name] is not None for name in FORECAST)
    world.pauses.pause(EVERYTHING, world.clock.now())
    with world.client() as fresh:  # another process, which remembers nothing
        again = fresh.get(f"/jobs/{job_id}", headers={"If-None-Match": seen.headers["etag"]})
        assert again.status_code == 200
        answers = [
            again.json(),
            fresh.get("/jobs", params={"status": "queued"}).json()["jobs"][0],
            fresh.patch(f"/jobs/{job_id}", json={"priority": "low"}).json(),
            fresh.post("/jobs", json={"prompt": "x", "num_frames": 16}).json(),
            fresh.post("/jobs/batch", json={"jobs": [{"prompt": "x", "num_frames": 16}]}).json()["results"][0]["job"],
        ]
    assert [answer["progress"][name] for answer in answers for name in FORECAST] == [None] * 10
