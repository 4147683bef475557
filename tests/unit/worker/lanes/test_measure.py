"""Measuring an ended job: what is stored, who is told, and that the job stays what it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.service.domain.manifest import manifest_key, metrics_key, video_key
from core.service.domain.schema import JobStatus
from core.service.engines.capabilities import WindowLengths
from core.service.records.kept_objects import unneeded_keys
from core.service.records.orphans import find_orphans
from core.service.redis import queue
from tests.helpers.fake_world import JOB, MODEL, World
from tests.helpers.jobs import refine_spec
from tests.helpers.manifests import record_from_manifest
from tests.helpers.measuring import FakeMeasure, ended, measure, measured_video, stored
from tests.helpers.presets import write_fake_preset
from worker.lanes.completion import clean_up
from worker.lanes.finalize import Finalizer
from worker.lanes.lane import Outcome


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


def test_seams_are_looked_for_where_the_windows_of_the_model_begin(world: World, tmp_path: Path) -> None:
    """Of a model that is not known here any more nobody knows where."""
    write_fake_preset(tmp_path, MODEL)
    world.settings = world.settings.model_copy(update={"presets_dir": tmp_path})
    ended(world)
    known, unknown = FakeMeasure(), FakeMeasure()
    measure(world, known)
    shutil.rmtree(tmp_path / MODEL)
    world.submit("job_later", measure=True)
    world.work(world.maker())
    measure(world, unknown)
    assert [request.windows for request in known.requests] == [WindowLengths(first=16, later=16)]
    assert [request.windows for request in unknown.requests] == [None]


def test_measuring_stands_back_as_far_as_the_setting_says(world: World) -> None:
    world.settings = world.settings.model_copy(update={"measure_niceness": 7})
    ended(world)
    fake = FakeMeasure()
    measure(world, fake)
    assert [request.niceness for request in fake.requests] == [7]


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
