"""The refine lane: what is read, stored and committed, and every possible outcome."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.service.domain.engine import FramesTHWC, OnStep
from core.service.domain.errors import InvalidChunk, StorageError
from core.service.domain.manifest import (
    frames_key,
    frames_prefix,
    manifest_key,
    refine_state_key,
    refine_states_prefix,
    refined_key,
    refined_video_key,
    video_key,
)
from core.service.domain.refine_plan import num_pieces
from core.service.domain.refiner import RefinedWindow, RefineState
from core.service.domain.schema import ChunkRecord, JobRecord, JobSpec, JobStatus, Lane, RefineSchedule, Variant
from core.service.redis import queue
from core.service.testing.engines import FakeRefineEngine
from core.service.video.decode import decode_frames
from tests.helpers.fake_world import JOB, MODEL, HookedRefineEngine, HookedStorage, World
from tests.helpers.jobs import progress_of, refine_spec
from tests.helpers.manifests import record_from_manifest
from worker.lanes.completion import write_manifest
from worker.lanes.finalize import Finalizer
from worker.lanes.lane import Outcome

SCHEDULES = pytest.mark.parametrize("schedule", ["streaming", "lockstep"])


def submit(world: World, num_frames: int = 72, schedule: RefineSchedule = "streaming", **changes: Any) -> JobRecord:
    return world.submit(num_frames=num_frames, refine=refine_spec(schedule=schedule), **changes)


def generate(world: World, chunks: int) -> None:
    """The first chunks of the job; messages are thrown away."""
    maker = world.maker()
    for _ in range(chunks):
        assert maker.work() is Outcome.COMMITTED
    world.queue.messages.clear()


def refined_bytes(world: World) -> list[bytes]:
    return [world.storage.objects[chunk.key] for chunk in world.refined()]


def uninterrupted(num_frames: int = 72, schedule: RefineSchedule = "streaming") -> list[bytes]:
    """The refined chunks of a job that nothing has disturbed."""
    world = World()
    submit(world, num_frames, schedule)
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    return refined_bytes(world)


@SCHEDULES
@pytest.mark.parametrize("num_frames", [16, 17, 24, 40, 72])
def test_a_job_is_refined_from_its_exact_frames_and_succeeds_after_it(
    num_frames: int, schedule: RefineSchedule
) -> None:
    world = World()
    submit(world, num_frames, schedule)
    world.work(world.maker())
    record = world.store.get(JOB)
    assert (record.status, record.is_refined) == (JobStatus.SUCCEEDED, True)
    spans = [(chunk.index, chunk.first_frame, chunk.num_frames) for chunk in world.chunks()]
    assert [(chunk.index, chunk.first_frame, chunk.num_frames) for chunk in world.refined()] == spans
    joined = decode_frames(world.storage.objects[refined_video_key(JOB)])
    assert joined.shape == (num_frames, 128, 128, 3)
    preview = decode_frames(world.storage.objects[video_key(JOB)])
    videos = [world.storage.objects[key] for key in (video_key(JOB), refined_video_key(JOB))]
    assert record.video_bytes == sum(len(video) for video in videos)
    below_the_bar = np.abs(joined[:, 8::2, 8::2].astype(int) - preview[:, 4:, 4:])
    assert below_the_bar.mean() < 3


def test_refined_chunks_appear_while_the_video_is_made(world: World) -> None:
    submit(world)
    maker, refiner = world.maker(), world.refiner()
    maker.work()
    assert refiner.work() is Outcome.DROPPED
    maker.work()
    assert queue.TASK_REFINE_WINDOW in world.tasks()
    assert refiner.work() is Outcome.COMMITTED
    assert refiner.work() is Outcome.DROPPED
    record = world.store.get(JOB)
    assert (record.chunks.count, record.refined.count, record.version) == (2, 1, 3)
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]) == record


@SCHEDULES
def test_another_worker_continues_with_the_same_bytes(world: World, schedule: RefineSchedule) -> None:
    submit(world, schedule=schedule)
    generate(world, 5)
    while world.store.get(JOB).status is JobStatus.RUNNING:
        assert world.refiner(services=world.services("new")).work() is Outcome.COMMITTED
    assert refined_bytes(world) == uninterrupted(schedule=schedule)


def test_a_worker_killed_in_a_window_leaves_refined_chunks_of_the_same_bytes(world: World) -> None:
    class Killed(BaseException):
        """Nothing in the worker catches this, as nothing catches a SIGKILL."""

    def die(window: int, step: int) -> None:
        if (window, step) == (1, 2):
            raise Killed

    submit(world)
    generate(world, 5)
    doomed = world.refiner(HookedRefineEngine(die))
    doomed.work()
    with pytest.raises(Killed):
        doomed.work()
    assert world.refiner().work() is Outcome.DROPPED
    world.clock.advance(31)
    while world.store.get(JOB).status is JobStatus.RUNNING:
        assert world.refiner().work() is Outcome.COMMITTED
    assert refined_bytes(world) == uninterrupted()


def test_a_worker_that_continues_does_not_fetch_the_state_it_has_just_stored(world: World) -> None:
    submit(world)
    generate(world, 5)
    refiner = world.refiner()
    refiner.work()
    del world.storage.objects[refine_state_key(JOB, 0)]
    assert refiner.work() is Outcome.COMMITTED


def test_each_lane_reports_its_own_progress(world: World) -> None:
    submit(world)
    generate(world, 2)
    seen: list[tuple[int, int, int] | None] = []

    def note(_window: int, _step: int) -> None:
        told = progress_of(world.store, JOB, Lane.REFINE)
        seen.append((told.chunk_index, told.step, told.steps) if told else None)
        assert progress_of(world.store, JOB) is None

    world.refiner(HookedRefineEngine(note)).work()
    assert seen == [None, (0, 0, 3), (0, 1, 3)]
    assert progress_of(world.store, JOB, Lane.REFINE) is None


def test_cancel_stops_the_window_and_keeps_what_exists_of_both(world: World) -> None:
    submit(world)
    generate(world, 4)
    refiner = world.refiner(HookedRefineEngine(lambda window, _: world.store.request_cancel(JOB) if window else None))
    assert refiner.work() is Outcome.COMMITTED
    world.queue.messages.clear()
    assert refiner.work() is Outcome.INTERRUPTED
    world.work(world.maker())
    record = world.store.get(JOB)
    assert (record.status, record.chunks.count, record.refined.count) == (JobStatus.CANCELED, 4, 1)
    assert len(decode_frames(world.storage.objects[refined_video_key(JOB)])) == 16
    assert len(decode_frames(world.storage.objects[video_key(JOB)])) == 64


def test_drain_gives_the_window_back_and_does_not_count_the_try(world: World) -> None:
    submit(world)
    generate(world, 2)
    services = world.services()
    engine = HookedRefineEngine(lambda _, step: services.drain.set() if step == 1 else None)
    assert world.refiner(engine, services).work() is Outcome.INTERRUPTED
    assert world.store.get(JOB).lane(Lane.REFINE).attempts == 0
    assert queue.TASK_REFINE_WINDOW in world.tasks()


def test_refinement_that_fails_for_good_fails_the_job_and_leaves_the_preview(world: World) -> None:
    class Broken(FakeRefineEngine):
        """Always fails."""

        def refine_window(
            self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep
        ) -> RefinedWindow:
            del spec, state, frames, on_step
            raise RuntimeError("a kernel failed")

    submit(world)
    generate(world, 2)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            world.refiner(Broken()).work()
        world.rest()
    record = world.store.get(JOB)
    assert record.error is not None
    assert (record.status, record.error.code) == (JobStatus.FAILED, "engine_error")
    assert record.error.message == "piece 1 of 4 of the refinement failed 3 times; last error: RuntimeError"
    assert all(chunk.key in world.storage.objects for chunk in world.chunks())


def one_fewer(frames: FramesTHWC) -> FramesTHWC:
    return frames[:-1]


def of_eight_rows(frames: FramesTHWC) -> FramesTHWC:
    return frames[:, :8]


def as_floats(frames: FramesTHWC) -> Any:
    return frames.astype(np.float32)


@pytest.mark.parametrize("wrong", [one_fewer, of_eight_rows, as_floats])
def test_wrong_frames_of_a_refiner_fail_the_job_by_their_shape(
    world: World, wrong: Callable[[FramesTHWC], FramesTHWC]
) -> None:
    class Wrong(FakeRefineEngine):
        def refine_window(
            self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep
        ) -> RefinedWindow:
            made = super().refine_window(spec, state, frames, on_step)
            return replace(made, frames=wrong(made.frames))

    submit(world)
    generate(world, 2)
    with pytest.raises(InvalidChunk, match=r"the refiner returned frames .* instead of"):
        world.refiner(Wrong()).work()
    assert world.refined() == []


def test_only_what_refining_needs_to_go_on_is_left_at_the_end(world: World) -> None:
    submit(world)
    generate(world, 2)
    assert len(list(world.storage.list(frames_prefix(JOB)))) == 2
    world.queue.wake(Lane.REFINE, MODEL, JOB)
    world.work(world.maker())
    left = {key.split("/")[2] for key in world.storage.objects}
    files = {"manifest.json", "thumbnail.jpg", "video.mp4", "video_refined.mp4"}
    assert left == {"chunks", "refined", "state", "frames", *files}
    last_pieces = (num_pieces(world.store.get(JOB).spec) - 2,)
    assert [*world.storage.list(refine_states_prefix(JOB))] == [refine_state_key(JOB, piece) for piece in last_pieces]
    assert len([*world.storage.list(frames_prefix(JOB))]) == 2


@SCHEDULES
def test_only_the_newest_states_are_kept(world: World, schedule: RefineSchedule) -> None:
    submit(world, schedule=schedule)
    generate(world, 5)
    refiner = world.refiner()
    for _ in range(3):
        refiner.work()
    assert list(world.storage.list(refine_states_prefix(JOB))) == [refine_state_key(JOB, index) for index in (1, 2)]
    record = world.store.get(JOB)
    sums = {one.piece: one.sha256 for one in record.refine_states}
    stored = {index: world.storage.objects[refine_state_key(JOB, index)] for index in (1, 2)}
    assert sums == {index: hashlib.sha256(data).hexdigest() for index, data in stored.items()}


@SCHEDULES
@pytest.mark.parametrize("lost", [(2,), (1, 2)])
def test_damaged_states_of_the_refiner_are_made_again(
    world: World, schedule: RefineSchedule, lost: tuple[int, ...]
) -> None:
    submit(world, schedule=schedule)
    generate(world, 5)
    for _ in range(3):
        assert world.refiner(services=world.services("new")).work() is Outcome.COMMITTED
    for index in lost:
        world.storage.objects[refine_state_key(JOB, index)] = b"?"
    assert world.refiner(services=world.services("new")).work() is Outcome.INTERRUPTED
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert refined_bytes(world) == uninterrupted(schedule=schedule)
    told = [event.data["chunk"]["index"] for event in world.store.memory.events[JOB] if event.type == "chunk.refined"]
    assert told == [0, 1, 2, 3, 4]


@SCHEDULES
def test_exact_frames_that_are_lost_are_made_again(world: World, schedule: RefineSchedule) -> None:
    submit(world, schedule=schedule)
    generate(world, 5)
    world.storage.objects[frames_key(JOB, 1)] = b"?"
    assert world.refiner().work() is Outcome.INTERRUPTED
    assert world.store.get(JOB).repairs == (1,)
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert refined_bytes(world) == uninterrupted(schedule=schedule)


@SCHEDULES
def test_a_refined_chunk_that_is_damaged_at_the_end_is_made_again(world: World, schedule: RefineSchedule) -> None:
    submit(world, schedule=schedule)
    generate(world, 5)
    while world.store.get(JOB).status is JobStatus.RUNNING:
        world.refiner().work()
    world.storage.objects[refined_key(JOB, 2)] = b"?"
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert refined_bytes(world) == uninterrupted(schedule=schedule)


@SCHEDULES
def test_pieces_that_are_made_again_read_only_the_refined_chunks_that_they_publish(
    world: World, monkeypatch: pytest.MonkeyPatch, schedule: RefineSchedule
) -> None:
    submit(world, schedule=schedule)
    generate(world, 5)
    while world.store.get(JOB).status is JobStatus.RUNNING:
        world.refiner().work()
    world.storage.objects[refined_key(JOB, 2)] = b"?"
    Finalizer(world.services()).work()
    counts, chunks = list[int](), world.store.chunks

    def counted(job_id: str, variant: Variant, start: int = 0, stop: int | None = None) -> Sequence[ChunkRecord]:
        found = chunks(job_id, variant, start, stop)
        counts.extend([len(found)] if variant == "refined" else [])
        return found

    monkeypatch.setattr(world.store, "chunks", counted)
    refiner = world.refiner()
    for _ in range(num_pieces(world.store.get(JOB).spec)):
        assert refiner.work() is Outcome.COMMITTED
    of_pieces, of_manifests = counts[::2], counts[1::2]
    assert set(of_manifests) == {5}
    assert sum(of_pieces) == 5


def test_frames_are_kept_only_where_they_will_be_refined(world: World) -> None:
    world.submit()
    world.maker().work()
    assert not list(world.storage.list(frames_prefix(JOB)))


def test_a_window_of_two_chunks_adds_one_event_for_each(world: World) -> None:
    events = ("chunk.refined",)
    submit(world, 40, webhook_url="https://example.com/hook", webhook_events=events)
    generate(world, 3)
    refiner = world.refiner()
    refiner.work()
    refiner.work()
    record = world.store.get(JOB)
    assert (record.refine_done, record.version, record.refined.count) == (2, 6, 3)
    told = [event for event in world.store.memory.events[JOB] if event.type == "chunk.refined"]
    assert [event.data["chunk"]["index"] for event in told] == [0, 1, 2]
    assert len({delivery.id for delivery in world.store.memory.deliveries.values()}) == 3
    assert sum(world.refined()[1].timings.values()) > 0


def test_in_lockstep_a_chunk_waits_from_the_last_frame_on(world: World) -> None:
    submit(world, schedule="lockstep")
    maker, refiner = world.maker(), world.refiner()
    while not world.store.get(JOB).is_complete:
        world.clock.advance(60)
        maker.work()
    while not world.refined():
        world.clock.advance(1)
        refiner.work()
    record = world.store.get(JOB)
    timings = world.refined()[0].timings
    assert timings["queue"] + timings["commit"] == record.refine_done


def test_a_changed_refiner_is_noted(world: World) -> None:
    submit(world)
    generate(world, 5)
    world.refiner().work()
    world.refiner(FakeRefineEngine(fingerprint="other")).work()
    changes = world.store.get(JOB).refine_fingerprints
    assert [(change.from_chunk, change.fingerprint) for change in changes] == [(0, "fake-refiner-1"), (1, "other")]


def test_a_stale_worker_commits_nothing(world: World) -> None:
    def lose(_window: int, step: int) -> None:
        if step == 2:
            world.clock.advance(31)
            world.store.claim(JOB, Lane.REFINE, "worker-2", 30)

    submit(world)
    generate(world, 2)
    assert world.refiner(HookedRefineEngine(lose)).work() is Outcome.DROPPED
    assert world.refined() == []


def test_the_refined_key_is_under_the_job(world: World) -> None:
    submit(world, 16)
    world.work(world.maker())
    assert [chunk.key for chunk in world.refined()] == [refined_key(JOB, 0)]


def test_frames_stay_where_the_last_manifest_could_not_be_written(world: World) -> None:
    def break_at_the_end(key: str) -> None:
        if key == manifest_key(JOB) and JOB in world.store.memory.records and world.store.get(JOB).status.is_terminal:
            raise StorageError("away")

    world.storage = HookedStorage(break_at_the_end)
    submit(world, 16)
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert list(world.storage.list(frames_prefix(JOB)))


def test_the_manifest_is_the_newest_record_whichever_lane_writes_last(world: World) -> None:
    submit(world)
    generate(world, 2)
    older = world.store.get(JOB)
    world.refiner().work()
    write_manifest(world.services(), older)
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]) == world.store.get(JOB)


class OtherRefineEngine(FakeRefineEngine):
    """Another engine: its frames are darker."""

    def __init__(self) -> None:
        super().__init__(fingerprint="other")

    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        made = super().refine_window(spec, state, frames, on_step)
        return RefinedWindow(made.frames // 2, made.state, made.timings)


def test_refined_chunks_made_again_by_another_engine_take_the_place_of_the_lost_ones(world: World) -> None:
    submit(world)
    generate(world, 5)
    while world.store.get(JOB).status is JobStatus.RUNNING:
        world.refiner().work()
    before = world.refined()
    world.storage.objects[refined_key(JOB, 2)] = b"?"
    world.work(world.maker(), refiner=world.refiner(OtherRefineEngine()))
    record = world.store.get(JOB)
    assert record.status is JobStatus.SUCCEEDED
    assert [chunk.created_at for chunk in world.refined()] == [chunk.created_at for chunk in before]
    sums = [hashlib.sha256(data).hexdigest() for data in refined_bytes(world)]
    assert sums == [chunk.sha256 for chunk in world.refined()]
    assert sums != [chunk.sha256 for chunk in before]


def test_a_worker_whose_disk_is_full_uses_up_no_try(world: World) -> None:
    class FullDisk(FakeRefineEngine):
        def refine_window(
            self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep
        ) -> RefinedWindow:
            del spec, state, frames, on_step
            raise RuntimeError("cannot write") from OSError(errno.ENOSPC, "No space left on device")

    submit(world)
    generate(world, 2)
    assert world.refiner(FullDisk()).work() is Outcome.INTERRUPTED
    assert world.store.get(JOB).lane(Lane.REFINE).attempts == 0
