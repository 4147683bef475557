"""Measuring that fails, is interrupted or may not be: what becomes of the job, and who is told."""

from __future__ import annotations

import threading

import pytest

from core.service.domain.errors import StorageUnavailable, VideoUnmeasurable
from core.service.domain.manifest import job_prefix, metrics_key, video_key
from core.service.domain.ports import Lease
from core.service.domain.schema import JobExtension, JobStatus, Lane
from core.service.domain.transitions import LONELY_DEATHS
from core.service.records.tombstones import delete_job
from core.service.settings import Settings
from tests.helpers.fake_world import JOB, HookedStorage, World
from tests.helpers.jobs import refine_spec
from tests.helpers.measuring import FakeMeasure, ended, error_of, fails_with, measure, stored
from tests.helpers.metrics import rise_of
from worker.lanes import server_access
from worker.lanes.completion import clean_up
from worker.lanes.lane import Outcome
from worker.lanes.measure import Measurer


def test_a_video_that_cannot_be_read_is_given_up_at_once(world: World) -> None:
    ended(world)
    assert measure(world, fails_with(VideoUnmeasurable("it is damaged", fix="tell them"))) is Outcome.FAILED
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    told = error_of(world)
    assert (told.code, told.message, told.fix) == ("video_unmeasurable", "it is damaged", "tell them")
    assert metrics_key(JOB) not in world.storage.objects


def test_a_missing_video_is_given_up_at_once(world: World) -> None:
    ended(world)
    world.storage.delete([video_key(JOB)])
    assert measure(world) is Outcome.FAILED
    assert "missing" in error_of(world).message


def test_a_video_longer_than_the_limit_is_not_even_fetched() -> None:
    world = World(settings=Settings(measure_max_frames=39))
    ended(world)
    fake = FakeMeasure()
    assert measure(world, fake) is Outcome.FAILED
    assert fake.sizes == []
    assert error_of(world).message == "the video has 40 frames; at most 39 are measured here"


def test_a_failure_is_tried_again_and_given_up_after_the_last_attempt(world: World) -> None:
    ended(world)
    for attempt in range(1, world.settings.max_attempts + 1):
        assert world.store.get(JOB).measurement is None
        with pytest.raises(RuntimeError):
            measure(world, fails_with(RuntimeError("it crashed")))
        assert measure(world) is Outcome.DROPPED, f"it rests after attempt {attempt}, or is given up"
        world.rest()
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert error_of(world).code == "measuring_error"
    world.store.ask_measuring(JOB)
    assert measure(world) is Outcome.COMMITTED


def test_an_attempt_that_failed_is_forgotten_once_the_job_is_measured(world: World) -> None:
    ended(world)
    with pytest.raises(RuntimeError):
        measure(world, fails_with(RuntimeError("it crashed")))
    world.rest()
    assert measure(world) is Outcome.COMMITTED
    assert world.store.get(JOB).lane(Lane.MEASURE).attempts == 0


def test_an_object_store_that_is_away_is_waited_for(world: World) -> None:
    away = [StorageUnavailable("it is away"), StorageUnavailable("it is away")]

    def refuse(key: str) -> None:
        if key == metrics_key(JOB) and away:
            raise away.pop()

    world.storage = HookedStorage(refuse)
    ended(world)
    assert measure(world) is Outcome.COMMITTED
    assert away == []


def test_a_worker_that_died_costs_nothing(world: World) -> None:
    ended(world)
    assert world.store.claim(JOB, Lane.MEASURE, "killed", 30) is not None
    assert measure(world) is Outcome.DROPPED
    world.clock.advance(31)
    assert measure(world) is Outcome.COMMITTED


def test_a_drain_gives_the_job_back_uncounted(world: World) -> None:
    ended(world)
    services = world.services("cpu-1")
    assert Measurer(services, FakeMeasure(services.drain.set)).work() is Outcome.INTERRUPTED
    assert world.store.get(JOB).lane(Lane.MEASURE).attempts == 0
    assert measure(world) is Outcome.COMMITTED


def test_nothing_is_left_of_a_job_that_is_deleted_while_it_is_measured(world: World) -> None:
    ended(world)

    def delete() -> None:
        delete_job(world.store, world.storage, JOB)

    assert measure(world, FakeMeasure(delete)) is Outcome.INTERRUPTED
    assert [key for key in world.storage.objects if key.startswith(job_prefix(JOB))] == []
    assert world.store.deleted() != []
    assert measure(world) is Outcome.DROPPED


def test_a_job_that_goes_on_while_it_is_measured_is_measured_at_its_new_end(world: World) -> None:
    ended(world, num_frames=32)

    def extend() -> None:
        world.store.extend(JOB, JobExtension(num_frames=16))

    assert measure(world, FakeMeasure(extend)) is not Outcome.COMMITTED
    assert world.store.get(JOB).measurements == ()
    maker = world.maker()
    while not world.store.get(JOB).status.is_terminal:
        maker.work()
        world.work(maker)
    assert measure(world) is Outcome.COMMITTED
    assert stored(world, 1).generation == 1
    clean_up(world.services(), world.store.get(JOB))
    kept = [key for key in world.storage.objects if "metrics" in key]
    assert kept == [metrics_key(JOB, 1)], "those of the shorter video are gone"


def test_a_preview_and_a_refined_video_that_are_longer_together_than_the_limit_are_not_measured() -> None:
    world = World(settings=Settings(measure_max_frames=79))
    ended(world, refine=refine_spec())
    fake = FakeMeasure()
    assert measure(world, fake) is Outcome.FAILED
    assert fake.sizes == []
    told = "the preview and the refined video have together 80 frames; at most 79 are measured here"
    assert error_of(world).message == told


def test_a_video_that_kills_its_workers_is_given_up_and_its_job_is_not(world: World) -> None:
    ended(world)
    for _ in range(LONELY_DEATHS):
        assert world.store.claim(JOB, Lane.MEASURE, "cpu-1/measure", 30) is not None
        world.store.release_of_worker("cpu-1/measure")
    fake, given_up = FakeMeasure(), rise_of("longtake_measurements_total", outcome="failed")
    assert measure(world, fake) is Outcome.FAILED
    assert (fake.sizes, world.store.get(JOB).status) == ([], JobStatus.SUCCEEDED)
    assert error_of(world).code == "poison_job"
    assert error_of(world).message == f"{LONELY_DEATHS} workers in a row died while measuring the video"
    assert given_up() == 1
    assert measure(world) is Outcome.DROPPED


def test_a_job_that_goes_on_while_its_lease_is_renewed_is_no_lost_lease() -> None:
    world = World(settings=Settings(lease_ttl_seconds=1))
    ended(world, num_frames=32)
    lost, renewed = rise_of("longtake_leases_lost_total", lane="measure"), threading.Event()
    renew = world.store.renew

    def told(lease: Lease, ttl_seconds: float) -> bool:
        is_held = renew(lease, ttl_seconds)
        if not is_held:
            renewed.set()
        return is_held

    world.store.renew = told

    def extend() -> None:
        world.store.extend(JOB, JobExtension(num_frames=16))
        assert renewed.wait(60)

    assert measure(world, FakeMeasure(extend)) is Outcome.INTERRUPTED
    assert lost() == 0


def test_a_lease_that_another_worker_took_is_a_lost_one() -> None:
    world = World(settings=Settings(lease_ttl_seconds=1))
    ended(world)
    lost, seen = rise_of("longtake_leases_lost_total", lane="measure"), threading.Event()

    def refuse(lease: Lease, ttl_seconds: float) -> bool:
        del lease, ttl_seconds
        seen.set()
        return False

    world.store.renew = refuse
    fake = FakeMeasure(lambda: seen.wait(60))
    assert measure(world, fake) is Outcome.INTERRUPTED
    assert lost() == 1


def test_a_job_that_goes_on_stops_the_measuring_before_its_lease_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_access, "CANCEL_CHECK_SECONDS", 0.0)
    ended(world, num_frames=32)

    def extend() -> None:
        world.store.extend(JOB, JobExtension(num_frames=16))

    assert measure(world, FakeMeasure(extend)) is Outcome.INTERRUPTED
    assert world.store.get(JOB).status is JobStatus.QUEUED


def test_the_process_is_told_how_many_frames_the_videos_have(world: World) -> None:
    ended(world)
    fake = FakeMeasure()
    measure(world, fake)
    assert [request.num_frames for request in fake.requests] == [{"preview": 40}]


def test_the_video_of_a_canceled_job_may_end_before_a_damaged_chunk(world: World) -> None:
    world.submit(num_frames=48, measure=True)
    world.maker().work()
    world.cancel()
    world.work(world.maker())
    fake = FakeMeasure()
    measure(world, fake)
    assert [request.num_frames for request in fake.requests] == [{}]
