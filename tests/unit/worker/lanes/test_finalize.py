"""The end of a job: the video has every existing frame once, whatever happened before."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import pytest
from PIL import Image

from core.service.domain.errors import StoreUnavailable
from core.service.domain.manifest import (
    chunk_key,
    manifest_key,
    state_key,
    thumbnail_key,
    video_key,
)
from core.service.domain.schema import JobStatus, Lane
from core.service.redis import queue
from core.service.testing.job_store import FakeJobStore
from core.service.video.decode import decode_frames
from tests.helpers.fake_world import JOB, HookedStorage, World
from tests.helpers.manifests import record_from_manifest
from worker.lanes.completion import start_finalizing
from worker.lanes.finalize import Finalizer
from worker.lanes.lane import Outcome


def finalize(world: World) -> Outcome:
    return Finalizer(world.services("cpu-1")).work()


def generated(world: World, num_frames: int = 40, **changes: Any) -> World:
    """All chunks made, nothing finalised."""
    world.submit(num_frames=num_frames, **changes)
    maker = world.maker()
    while world.store.get(JOB).status is not JobStatus.FINALIZING:
        maker.work()
    world.queue.messages.clear()
    return world


@pytest.mark.parametrize("num_frames", [16, 17, 40])
def test_the_video_has_exactly_the_frames_asked_for(world: World, num_frames: int) -> None:
    assert finalize(generated(world, num_frames)) is Outcome.COMMITTED
    record = world.store.get(JOB)
    assert record.status is JobStatus.SUCCEEDED
    assert (record.video_key, record.video_bytes) == (video_key(JOB), len(world.storage.objects[video_key(JOB)]))
    assert decode_frames(world.storage.objects[video_key(JOB)]).shape == (num_frames, 64, 64, 3)
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]) == record


def test_a_video_at_a_fractional_rate_has_every_frame_at_its_time(world: World) -> None:
    rate = Fraction(30000, 1001)
    assert finalize(generated(world, 40, fps=rate)) is Outcome.COMMITTED
    with av.open(io.BytesIO(world.storage.objects[video_key(JOB)]), mode="r") as container:
        stream = container.streams.video[0]
        times = [(frame.pts or 0) * (frame.time_base or 0) for frame in container.decode(stream)]
        assert stream.average_rate == rate
    assert times == [frame / rate for frame in range(40)]


def test_the_thumbnail_is_a_picture_of_the_video(world: World) -> None:
    finalize(generated(world))
    picture = Image.open(io.BytesIO(world.storage.objects[thumbnail_key(JOB)]))
    assert picture.format == "JPEG"
    assert world.storage.content_types[thumbnail_key(JOB)] == "image/jpeg"


def test_a_cancelled_job_gets_a_video_of_what_exists(world: World) -> None:
    world.submit(num_frames=160)
    world.maker().work()
    world.cancel()
    world.work(world.maker())
    record = world.store.get(JOB)
    assert record.status is JobStatus.CANCELED
    assert len(decode_frames(world.storage.objects[str(record.video_key)])) == 16


def test_a_job_cancelled_before_its_first_chunk_has_no_video(world: World) -> None:
    world.submit()
    world.store.claim(JOB, Lane.GENERATE, "killed", 1)
    world.clock.advance(2)
    assert world.cancel().status is JobStatus.CANCELING
    start_finalizing(world.services(), JOB)
    world.work(world.maker())
    record = world.store.get(JOB)
    assert (record.status, record.video_key, record.thumbnail_key) == (JobStatus.CANCELED, None, None)


def test_finalising_again_after_a_crash_gives_the_same_objects(world: World) -> None:
    finalize(generated(world))
    objects = dict(world.storage.objects)
    other = World()
    generated(other)
    lease = other.store.claim(JOB, Lane.FINALIZE, "killed", 30)
    other.storage.put(video_key(JOB), b"half of it", "video/mp4")
    assert lease is not None
    other.clock.advance(31)
    finalize(other)
    keys = [video_key(JOB), thumbnail_key(JOB)]
    assert [other.storage.objects[key] for key in keys] == [objects[key] for key in keys]


def test_a_duplicate_task_does_nothing(world: World) -> None:
    finalize(generated(world))
    assert finalize(world) is Outcome.DROPPED


def test_the_end_wakes_the_webhook_sender_only_where_asked_for(world: World) -> None:
    finalize(generated(world, webhook_url="https://example.com/hook"))
    assert world.tasks() == [queue.TASK_DELIVER_WEBHOOKS]
    silent = generated(World(), webhook_url="https://example.com/hook", webhook_events=("chunk.completed",))
    silent.queue.messages.clear()
    finalize(silent)
    assert silent.tasks() == []


def test_drain_gives_the_job_back_uncounted(world: World) -> None:
    stop = threading.Event()
    world.storage = HookedStorage(lambda key: stop.set() if key == video_key(JOB) else None)
    services = replace(generated(world).services("cpu-1"), drain=stop)
    assert Finalizer(services).work() is Outcome.INTERRUPTED
    assert world.store.get(JOB).lane(Lane.FINALIZE).attempts == 0
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_a_damaged_chunk_is_made_again_before_the_job_succeeds(world: World, how: str) -> None:
    generated(world)
    calm = {key: world.storage.objects[key] for key in (chunk_key(JOB, 0), chunk_key(JOB, 1))}
    for key, data in calm.items():
        if how == "missing":
            del world.storage.objects[key]
        else:
            world.storage.objects[key] = data[:-9] if how == "cut" else data[:-1] + b"?"
    assert finalize(world) is Outcome.INTERRUPTED
    record = world.store.get(JOB)
    assert (record.status, record.repairs) == (JobStatus.RUNNING, (0, 1))
    world.work(world.maker(services=world.services("worker-2")))
    after = world.store.get(JOB)
    assert (after.status, after.repairs, after.chunks) == (JobStatus.SUCCEEDED, (), record.chunks)
    assert {key: world.storage.objects[key] for key in calm} == calm
    types = [event.type for event in world.store.memory.events[JOB]]
    assert types.count("chunk.completed") == 3


def test_damage_found_by_a_worker_that_lost_its_lease_is_left_to_the_next_one(world: World) -> None:
    generated(world)
    lease = world.store.claim(JOB, Lane.FINALIZE, "slow", 1)
    assert lease is not None
    world.clock.advance(2)
    assert world.store.claim(JOB, Lane.FINALIZE, "next", 30) is not None
    world.storage.objects[chunk_key(JOB, 0)] = b"?"
    assert Finalizer(world.services("slow")).do(lease) is Outcome.DROPPED
    assert world.store.get(JOB).repairs == ()


def test_a_cancelled_job_gets_a_video_of_what_comes_before_the_damage(world: World) -> None:
    world.submit(num_frames=160)
    for _ in range(2):
        world.maker().work()
    world.storage.objects[chunk_key(JOB, 1)] = b"?"
    world.cancel()
    world.work(world.maker())
    record = world.store.get(JOB)
    assert record.status is JobStatus.CANCELED
    assert len(decode_frames(world.storage.objects[str(record.video_key)])) == 16


def test_what_only_making_the_video_needed_goes_with_its_end(world: World) -> None:
    world.submit(num_frames=16 * 18)
    world.storage.put(chunk_key(JOB, 18), b"a chunk that was never committed", "video/mp4")
    world.work(world.maker())
    states = [key for key in world.storage.objects if "/state/" in key]
    assert states == [state_key(JOB, index) for index in (0, 7, 15, 17)]
    assert chunk_key(JOB, 18) not in world.storage.objects


def test_a_job_deleted_during_a_chunk_leaves_nothing_that_the_janitor_cannot_remove(world: World) -> None:
    world.storage = HookedStorage(lambda key: world.store.request_delete(JOB) if key == video_key(JOB) else None)
    generated(world)
    assert finalize(world) is Outcome.INTERRUPTED
    assert not world.store.lease_alive(JOB, Lane.FINALIZE)
    assert world.tasks() == [queue.TASK_JANITOR]
    assert not world.storage.objects


def test_a_store_that_fails_after_the_claim_costs_no_lease(world: World) -> None:
    class Forgetful(FakeJobStore):
        def free_work(self, lanes: Sequence[Lane], model: str) -> Mapping[Lane, str]:
            raise StoreUnavailable(f"{lanes} {model}")

    world.store = Forgetful(world.clock)
    generated(world)
    assert finalize(world) is Outcome.COMMITTED
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
