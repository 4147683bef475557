"""Measuring an ended job: what is stored, how it fails, and that the job stays what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.service.domain.errors import StorageUnavailable, VideoUnmeasurable
from core.service.domain.manifest import job_prefix, manifest_key, metrics_key, video_key
from core.service.domain.ports import PauseTarget
from core.service.domain.schema import JobExtension, JobMetrics, JobRecord, JobStatus, Lane, MeasuredVideo, MetricValue
from core.service.records.kept_objects import unneeded_keys
from core.service.records.orphans import find_orphans
from core.service.records.tombstones import delete_job
from core.service.redis import queue
from core.service.settings import Settings
from tests.helpers.fake_world import JOB, HookedStorage, World
from tests.helpers.jobs import refine_spec
from tests.helpers.manifests import record_from_manifest
from worker.lanes.completion import clean_up
from worker.lanes.finalize import Finalizer
from worker.lanes.lane import Outcome
from worker.lanes.measure import Measurer, MeasuringLoop
from worker.measuring.child import Measured
from worker.measuring.request import MeasureRequest


def measured_video(num_frames: int = 40) -> MeasuredVideo:
    scuts = MetricValue(value=0, title="SCuts", meaning="Number of hard cuts.", better="lower")
    return MeasuredVideo(num_frames=num_frames, flow="dis", values={"scuts": scuts}, curves={}, notes=("a note",))


class FakeMeasure:
    """A Measure that keeps what it was given, and calls `during` in the midst of its work."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.sizes = list[dict[str, int]]()
        self._during = during

    def __call__(self, request: MeasureRequest, check: Callable[[], None]) -> Measured:
        self.sizes.append({variant: file.stat().st_size for variant, file in request.videos.items()})
        self._during()
        check()
        return dict.fromkeys(request.videos, measured_video())


def fails_with(error: Exception) -> FakeMeasure:
    def fail() -> None:
        raise error

    return FakeMeasure(fail)


def ended(world: World, *, measure: bool = True, **changes: object) -> JobRecord:
    """A job that has succeeded, with the message of its measuring."""
    world.submit(JOB, measure=measure, **changes)
    world.work(world.maker())
    return world.store.get(JOB)


def measure(world: World, fake: FakeMeasure | None = None) -> Outcome:
    return Measurer(world.services("cpu-1"), fake or FakeMeasure()).work()


def stored(world: World, generation: int = 0) -> JobMetrics:
    return JobMetrics.model_validate_json(world.storage.objects[metrics_key(JOB, generation)])


@pytest.mark.parametrize(("asked", "woken"), [(True, [queue.TASK_MEASURE_VIDEO]), (False, [])])
def test_the_end_of_a_job_wakes_the_measurer_only_where_asked_for(world: World, asked: bool, woken: list[str]) -> None:
    world.submit(measure=asked)
    maker = world.maker()
    while world.store.get(JOB).status is not JobStatus.FINALIZING:
        maker.work()
    world.queue.messages.clear()
    Finalizer(world.services("cpu-1")).work()
    assert world.tasks() == woken


def test_the_metrics_are_stored_and_the_job_stays_as_it_is(world: World) -> None:
    before, fake = ended(world), FakeMeasure()
    assert measure(world, fake) is Outcome.COMMITTED
    assert fake.sizes == [{"preview": len(world.storage.objects[video_key(JOB)])}]
    metrics = stored(world)
    assert (metrics.job_id, metrics.generation, dict(metrics.videos)) == (JOB, 0, {"preview": measured_video()})
    after = world.store.get(JOB)
    assert (after.status, after.version, after.expires_at) == (before.status, before.version, before.expires_at)
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]) == after
    assert measure(world) is Outcome.DROPPED


def test_both_variants_of_a_refined_job_are_measured(world: World) -> None:
    ended(world, refine=refine_spec())
    fake = FakeMeasure()
    measure(world, fake)
    assert [sorted(sizes) for sizes in fake.sizes] == [["preview", "refined"]]
    assert sorted(stored(world).videos) == ["preview", "refined"]


def test_an_endless_job_is_measured_once_it_has_been_canceled(world: World) -> None:
    world.submit(num_frames=None, endless_limit=900, measure=True)
    world.maker().work()
    assert measure(world) is Outcome.DROPPED
    world.cancel()
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.CANCELED
    assert measure(world) is Outcome.COMMITTED


def test_the_webhook_sender_is_woken_only_where_asked_for(world: World) -> None:
    ended(world, webhook_url="https://example.com/hook", webhook_events=("job.measured",))
    world.queue.messages.clear()
    measure(world)
    assert world.tasks() == [queue.TASK_DELIVER_WEBHOOKS]
    silent = World()
    ended(silent, webhook_url="https://example.com/hook")
    silent.queue.messages.clear()
    measure(silent)
    assert silent.tasks() == []


def test_a_video_that_cannot_be_read_is_given_up_at_once(world: World) -> None:
    ended(world)
    assert measure(world, fails_with(VideoUnmeasurable("it is damaged", fix="tell them"))) is Outcome.FAILED
    record = world.store.get(JOB)
    assert record.status is JobStatus.SUCCEEDED
    assert record.measurement is not None
    assert record.measurement.error is not None
    told = record.measurement.error
    assert (told.code, told.message, told.fix) == ("video_unmeasurable", "it is damaged", "tell them")
    assert metrics_key(JOB) not in world.storage.objects


def test_a_missing_video_is_given_up_at_once(world: World) -> None:
    ended(world)
    world.storage.delete([video_key(JOB)])
    assert measure(world) is Outcome.FAILED
    measurement = world.store.get(JOB).measurement
    assert measurement is not None
    assert measurement.error is not None
    assert "missing" in measurement.error.message


def test_a_video_longer_than_the_limit_is_not_even_fetched() -> None:
    world = World(settings=Settings(measure_max_frames=39))
    ended(world)
    fake = FakeMeasure()
    assert measure(world, fake) is Outcome.FAILED
    assert fake.sizes == []
    measurement = world.store.get(JOB).measurement
    assert measurement is not None
    assert measurement.error is not None
    assert measurement.error.message == "the video has 40 frames; at most 39 are measured here"


def test_a_failure_is_tried_again_and_given_up_after_the_last_attempt(world: World) -> None:
    ended(world)
    for attempt in range(1, world.settings.max_attempts + 1):
        assert world.store.get(JOB).measurement is None
        with pytest.raises(RuntimeError):
            measure(world, fails_with(RuntimeError("it crashed")))
        assert measure(world) is Outcome.DROPPED, f"it rests after attempt {attempt}, or is given up"
        world.rest()
    record = world.store.get(JOB)
    assert record.status is JobStatus.SUCCEEDED
    assert record.measurement is not None
    assert record.measurement.error is not None
    assert record.measurement.error.code == "measuring_error"
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


def test_metrics_are_kept_by_the_clean_up_and_no_orphans(world: World) -> None:
    record = ended(world)
    world.storage.put(metrics_key(JOB), b"{}", "application/json")
    clean_up(world.services(), record)
    assert metrics_key(JOB) in world.storage.objects, "a worker stores them before it commits"
    measure(world)
    record, keys = world.store.get(JOB), list(world.storage.objects)
    assert unneeded_keys(record, world.store_lists(), keys) == []
    assert [orphan.name for orphan in find_orphans(world.store, world.storage, world.uploads)] == []


def test_metrics_that_nobody_asked_for_are_orphans(world: World) -> None:
    ended(world, measure=False)
    world.storage.put(metrics_key(JOB), b"{}", "application/json")
    assert [orphan.name for orphan in find_orphans(world.store, world.storage, world.uploads)] == [metrics_key(JOB)]


# The thread of a CPU worker


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
