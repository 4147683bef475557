"""The thread of a CPU worker that measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.service.domain.ports import PauseTarget
from tests.helpers.fake_world import JOB, World
from tests.helpers.measuring import FakeMeasure, ended, measured_video
from worker.lanes.measure import MeasuringLoop
from worker.measuring.child import Measured
from worker.measuring.request import MeasureRequest


def test_the_loop_measures_all_that_waits_also_after_a_failure(world: World) -> None:
    for job_id in ("job_a", "job_b", "job_c"):
        world.submit(job_id, measure=True)
    world.work(world.maker())
    seen = list[Path]()

    def flaky(request: MeasureRequest, check: Callable[[], None]) -> Measured:
        check()
        seen.append(request.folder)
        if len(seen) == 1:
            raise RuntimeError("it crashed")
        return {"preview": measured_video()}

    MeasuringLoop(world.services("cpu-1"), flaky).run()
    measured = [world.store.get(job_id).measurement is not None for job_id in ("job_a", "job_b", "job_c")]
    assert sorted(measured) == [False, True, True]
    assert [folder for folder in seen if folder.exists()] == []
    world.rest()
    MeasuringLoop(world.services("cpu-1"), flaky).run()
    assert all(world.store.get(job_id).measurement for job_id in ("job_a", "job_b", "job_c"))


def test_the_loop_claims_under_a_name_of_its_own(world: World) -> None:
    ended(world)
    names = list[str | None]()

    def note() -> None:
        lease = world.store.release_of_worker("cpu-1")
        names.append(None if lease is None else lease.worker)
        lease = world.store.release_of_worker("cpu-1/measure")
        names.append(None if lease is None else lease.job_id)

    MeasuringLoop(world.services("cpu-1"), FakeMeasure(note)).run()
    assert names[:2] == [None, JOB]


def test_the_loop_rests_while_its_worker_is_paused_or_stops(world: World) -> None:
    ended(world)
    fake, services, paused = FakeMeasure(), world.services("cpu-1"), PauseTarget(worker="cpu-1")
    world.pauses.pause(paused, world.clock.now())
    MeasuringLoop(services, fake).run()
    world.pauses.resume(paused)
    services.drain.set()
    MeasuringLoop(services, fake).run()
    assert fake.sizes == []
    services.drain.clear()
    MeasuringLoop(services, fake).run()
    assert len(fake.sizes) == 1
