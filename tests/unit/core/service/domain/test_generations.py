"""Ended jobs that go on: what is kept, what is made again, what is refused, and their log after a loss of Redis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.service.domain import transitions
from core.service.domain.chunk_order import next_new_chunk
from core.service.domain.errors import FieldNotSupported, JobNotFound, JobStateConflict, StaleLease
from core.service.domain.ports import Lease, Results
from core.service.domain.schema import (
    VARIANTS,
    ChunkLists,
    ChunkRecord,
    EventType,
    JobChange,
    JobError,
    JobExtension,
    JobRecord,
    JobStatus,
    Lane,
    LaneState,
    PreparedMedia,
    PromptChange,
    RefineSpec,
    Variant,
)
from core.service.domain.transitions import Transition
from core.service.domain.views import pace_of
from tests.helpers.jobs import DAY_ONE, chunk_of, queued_job, refine_spec

KEPT = timedelta(days=1)
ERROR = JobError(code="boom", message="it broke", retryable=True)
HOOKED: dict[str, Any] = {
    "webhook_url": "https://example.com/hook",
    "webhook_events": ("chunk.completed", "chunk.refined", "job.prompt_changed", "job.succeeded", "job.canceled"),
}


class Life:
    """A job from its creation on: every change that was made, one second after the other."""

    def __init__(self, **spec: Any) -> None:
        self.changes: list[Transition] = []
        self._do(transitions.create(queued_job(**spec)))

    @property
    def job(self) -> JobRecord:
        return self.changes[-1].record

    @property
    def now(self) -> datetime:
        return DAY_ONE + timedelta(seconds=len(self.changes))

    @property
    def lists(self) -> ChunkLists:
        """The chunks as they are stored."""
        listed: dict[Variant, dict[int, ChunkRecord]] = {variant: {} for variant in VARIANTS}
        for write in (write for change in self.changes for write in change.chunks):
            listed[write.variant][write.chunk.index] = write.chunk
        preview, refined = (tuple(listed[variant].values()) for variant in VARIANTS)
        return ChunkLists(preview, refined)

    def _do(self, change: Transition) -> JobRecord:
        self.changes.append(change)
        return change.record

    def lease(self, lane: Lane) -> Lease:
        self._do(transitions.claim(self.job, lane, self.now, 0))
        return Lease(self.job.id, lane, self.job.lane(lane).token, "w1")

    def chunk(self, index: int) -> JobRecord:
        lease = self.lease(Lane.GENERATE)
        return self._do(transitions.commit_chunk(self.job, lease, self._made(index), "f", self.now))

    def piece(self, done: int, *indices: int) -> JobRecord:
        lease, chunks = self.lease(Lane.REFINE), tuple(map(self._made, indices))
        return self._do(transitions.commit_refined(self.job, lease, done, chunks, "r", self.now, f"state {done}"))

    def _made(self, index: int) -> ChunkRecord:
        return chunk_of(self.job, index).model_copy(update={"created_at": self.now})

    def finish(self) -> JobRecord:
        lease, results = self.lease(Lane.FINALIZE), Results("v", None, "t")
        return self._do(transitions.finish(self.job, lease, results=results, at=self.now, retention=KEPT))

    def fail(self) -> JobRecord:
        return self._do(transitions.fail(self.job, ERROR, self.now, KEPT))

    def cancel(self) -> JobRecord:
        return self._do(transitions.request_cancel(self.job, self.now, KEPT))

    def retry(self) -> JobRecord:
        return self._do(transitions.retry(self.job, self.now))

    def extend(self, num_frames: int, prompt: str | None = None) -> JobRecord:
        return self._do(transitions.extend(self.job, JobExtension(num_frames=num_frames, prompt=prompt), self.now))

    def steer(self, **change: Any) -> JobRecord:
        return self._do(transitions.steer(self.job, JobChange(**change), self.now)[0])

    def make(self, *indices: int) -> JobRecord:
        for index in indices:
            self.chunk(index)
        return self.job


def canceled_after(count: int, **spec: Any) -> Life:
    life = Life(**{"num_frames": 80, **spec})
    life.make(*range(count))
    life.cancel()
    life.finish()
    return life


def succeeded(num_frames: int = 40, **spec: Any) -> Life:
    life = Life(num_frames=num_frames, **spec)
    life.make(*range(-(-num_frames // 16)))
    life.finish()
    return life


def test_a_canceled_job_goes_on_from_its_last_chunk_when_it_is_retried() -> None:
    life = canceled_after(2)
    job = life.retry()
    assert (job.status, job.generation, job.frames_done, job.spec.num_frames) == (JobStatus.QUEUED, 1, 32, 80)
    assert (job.cancel_requested, job.finished_at, job.expires_at, job.error) == (False, None, None, None)
    assert (job.video_key, job.thumbnail_key) == ("v", "t"), "what there is stays served"
    assert transitions.wants(job, Lane.GENERATE)
    (event,) = life.changes[-1].events
    assert (event.type, event.data["generation"], event.data["frames_done"]) == (EventType.JOB_QUEUED, 1, 32)
    started = job.started_at
    life.make(2, 3, 4)
    assert (life.job.status, life.job.started_at, life.job.version) == (JobStatus.FINALIZING, started, 5)
    assert life.finish().status is JobStatus.SUCCEEDED


def test_a_queued_job_with_chunks_is_finalized_when_it_is_canceled() -> None:
    life = Life(num_frames=80)
    life.make(0, 1)
    life.fail()
    life.retry()
    job = life.cancel()
    assert (job.status, transitions.wants(job, Lane.FINALIZE)) == (JobStatus.FINALIZING, True)
    ended = life.finish()
    assert (ended.status, ended.video_key) == (JobStatus.CANCELED, "v"), "finished chunks become the video"


def test_a_worker_of_the_generation_before_commits_nothing() -> None:
    life = Life(num_frames=80)
    life.chunk(0)
    late = life.lease(Lane.GENERATE)
    life.fail()
    job = life.retry()
    assert life.changes[-1].revoked == tuple(Lane)
    assert job.lane(Lane.GENERATE) == LaneState(token=late.token + 1)
    with pytest.raises(StaleLease):
        transitions.commit_chunk(job, late, chunk_of(job, 1), "f", life.now)


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELING, JobStatus.FINALIZING])
def test_a_job_that_has_not_ended_is_neither_retried_nor_extended(status: JobStatus) -> None:
    job = queued_job().model_copy(update={"status": status})
    for change in (lambda: transitions.retry(job, DAY_ONE), lambda: transitions.extend(job, MORE, DAY_ONE)):
        with pytest.raises(JobStateConflict) as refused:
            change()
        assert refused.value.fix


MORE = JobExtension(num_frames=16)


def test_a_job_that_has_succeeded_or_is_made_is_not_retried_and_a_failed_one_not_extended() -> None:
    whole = canceled_after(1).job
    whole = whole.model_copy(update={"spec": whole.spec.model_copy(update={"num_frames": 16})})
    for job in (succeeded().job, whole):
        with pytest.raises(JobStateConflict):
            transitions.retry(job, DAY_ONE)
    life = Life()
    with pytest.raises(JobStateConflict, match="failed"):
        transitions.extend(life.fail(), MORE, life.now)


def test_a_job_that_is_deleted_or_about_to_expire_is_not_found() -> None:
    job = succeeded().job
    assert job.expires_at is not None
    with pytest.raises(JobNotFound):
        transitions.extend(job, MORE, job.expires_at)
    with pytest.raises(JobNotFound):
        transitions.extend(job.model_copy(update={"delete_requested": True}), MORE, DAY_ONE)


def test_the_same_change_again_after_a_lost_answer_changes_nothing() -> None:
    life = succeeded()
    at = life.now
    job = life.extend(16)
    assert transitions.extend(job, MORE, at).record is job
    retried = canceled_after(1)
    at = retried.now
    job = retried.retry()
    assert transitions.retry(job, at).record is job


def test_a_job_does_not_go_on_without_end() -> None:
    job = succeeded().job
    once = transitions.extend(job, MORE, DAY_ONE).record.earlier[0]
    with pytest.raises(JobStateConflict, match="1000"):
        transitions.extend(job.model_copy(update={"earlier": (once,) * 1000}), MORE, DAY_ONE + timedelta(seconds=1))


def test_a_failed_job_with_nothing_left_to_generate_starts_at_once() -> None:
    life = Life(num_frames=32)
    life.make(0, 1)
    life.fail()
    job = life.retry()
    assert job.status is JobStatus.FINALIZING
    assert [event.type for event in life.changes[-1].events] == [EventType.JOB_QUEUED, EventType.JOB_STARTED]
    assert transitions.wants(job, Lane.FINALIZE)


def test_a_retried_job_makes_damaged_chunks_again() -> None:
    life = Life(num_frames=80)
    life.make(0, 1)
    lease = life.lease(Lane.GENERATE)
    life.changes.append(transitions.repair(life.job, lease, (1,)))
    life.fail()
    job = life.retry()
    assert (job.status, job.repairs) == (JobStatus.RUNNING, (1,))
    assert transitions.wants(job, Lane.GENERATE)


def test_input_media_are_prepared_again_only_where_they_are_still_needed() -> None:
    for whole, count, wanted in ((False, 0, True), (False, 1, False), (True, 1, True)):
        life = Life(num_frames=80, video="upl_x")
        prepared = PreparedMedia(key="p", sha256="a", at=DAY_ONE, whole_video=whole)
        lease = life.lease(Lane.PREPARE)
        life.changes.append(transitions.commit_prepare(life.job, lease, prepared))
        life.make(*range(count))
        life.fail()
        job = life.retry()
        assert (job.prepared, transitions.wants(job, Lane.PREPARE)) == (None, wanted), (whole, count)


def test_an_extended_job_completes_its_short_last_chunk_first() -> None:
    life = succeeded(40)
    assert life.extend(56).spec.num_frames == 96
    assert next_new_chunk(life.job) == 2
    lease = life.lease(Lane.GENERATE)
    with pytest.raises(StaleLease):
        transitions.commit_chunk(life.job, lease, chunk_of(life.job, 3), "f", life.now)
    longer = chunk_of(life.job, 2)
    committed = transitions.commit_chunk(life.job, lease, longer, "f", life.now)
    job = committed.record
    assert (job.chunks.count, job.frames_done, job.version, next_new_chunk(job)) == (3, 48, 4, 3)
    assert [write.chunk.num_frames for write in committed.chunks] == [16]
    assert [(event.type, event.data["chunk"]["num_frames"]) for event in committed.events] == [
        (EventType.CHUNK_COMPLETED, 16)
    ]
    replaced = job.earlier[0].replaced
    assert replaced is not None
    assert replaced.num_frames == 8
    assert transitions.commit_chunk(job, lease, longer, "f", life.now).record is job, "a lost answer"


def test_a_canceled_job_is_extended_from_the_frames_that_it_has() -> None:
    assert canceled_after(2).extend(16).spec.num_frames == 48


def test_a_prompt_acts_from_the_first_added_frame() -> None:
    life = succeeded(40)
    job = life.extend(56, "a blue square")
    assert job.spec.prompt_changes == (PromptChange(start_frame=40, text="a blue square"),)
    types = [event.type for event in life.changes[-1].events]
    assert types == [EventType.JOB_QUEUED, EventType.JOB_PROMPT_CHANGED]
    assert succeeded(40).extend(56, job.spec.prompt).spec.prompt_changes == (), "the same prompt changes nothing"


def beyond_its_end() -> Life:
    """48 frames, and a prompt that was to begin at frame 64."""
    return succeeded(48, prompt_changes=(PromptChange(start_frame=64, text="a blue square"),))


def test_a_prompt_acts_to_the_new_end_whatever_was_to_begin_there() -> None:
    green = PromptChange(start_frame=48, text="a green circle")
    assert beyond_its_end().extend(48, green.text).spec.prompt_changes == (green,)
    same = beyond_its_end()
    assert same.extend(48, same.job.spec.prompt).spec.prompt_changes == ()


def test_without_a_prompt_those_that_were_to_begin_beyond_the_end_go_on() -> None:
    life = beyond_its_end()
    assert life.extend(48).spec.prompt_changes == life.changes[0].record.spec.prompt_changes


def test_while_the_short_chunk_is_completed_a_prompt_acts_after_it() -> None:
    life = succeeded(40)
    life.extend(56)
    assert transitions.first_open_frame(life.job) == 40
    life.lease(Lane.GENERATE)
    assert transitions.first_open_frame(life.job) == 48


@pytest.mark.parametrize(
    ("num_frames", "done", "kept"), [(16, 1, 0), (24, 1, 0), (40, 2, 1), (48, 3, 2), (96, 6, 5), (80, 2, 2)]
)
def test_the_last_piece_of_refinement_is_made_again(num_frames: int, done: int, kept: int) -> None:
    life = Life(num_frames=num_frames, refine=refine_spec())
    life.make(*range(num_frames // 16))
    life.cancel() if num_frames == 80 else None
    ended = {"status": JobStatus.SUCCEEDED, "refine_done": done, "finished_at": DAY_ONE}
    job = transitions.extend(life.job.model_copy(update=ended), MORE, life.now).record
    assert (job.refine_done, transitions.wants(job, Lane.REFINE)) == (kept, False)


def test_a_job_refined_in_lockstep_is_not_extended() -> None:
    job = Life(refine=refine_spec(schedule="lockstep")).job
    ended = job.model_copy(update={"status": JobStatus.SUCCEEDED, "finished_at": DAY_ONE})
    with pytest.raises(FieldNotSupported, match="lockstep"):
        transitions.extend(ended, MORE, DAY_ONE)


def test_pace_counts_from_the_start_of_the_generation() -> None:
    life = canceled_after(2)
    life.retry()
    assert pace_of(life.job.chunks, life.job) is None
    life.changes += [life.changes[-1]] * 100  # a hundred seconds in the queue
    life.chunk(2)
    first = pace_of(life.job.chunks, life.job)
    assert first is not None
    assert first.seconds_per_chunk < 10
    life.chunk(3)
    second = pace_of(life.job.chunks, life.job)
    assert second is not None
    assert second.seconds_per_chunk < 10


def told(change: Transition) -> list[tuple[object, ...]]:
    return [(event.type, event.at, event.data) for event in change.events]


def a_long_life() -> Life:
    """Every way to end and to go on, with refinement and prompts."""
    life = Life(num_frames=40, refine=refine_spec(), **HOOKED)
    life.make(0, 1)
    life.piece(1, 0)
    life.fail()
    life.retry()
    life.chunk(2)
    life.piece(2, 1, 2)
    life.finish()
    life.extend(56, "a blue square")
    life.chunk(2)
    life.piece(2)
    life.chunk(3)
    life.piece(3, 2)
    life.cancel()
    life.finish()
    life.retry()
    life.cancel()
    life.finish()
    life.extend(16)
    life.chunk(4)
    return life


def test_a_restored_log_and_its_webhooks_are_the_ones_that_were_lost_over_all_generations() -> None:
    life = a_long_life()
    logged = [entry for change in life.changes for entry in told(change)]
    sent = [row for change in life.changes for row in change.deliveries]
    restored = transitions.restore(life.job, life.lists)
    assert without_end_status(told(restored)) == without_end_status(logged)
    assert restored.record.num_events == life.job.num_events == len(logged)
    assert [row.id for row in restored.deliveries] == [row.id for row in sent]
    assert len({row.id for row in sent}) == len(sent), "a receiver knows a webhook by its id"
    assert [row.id for row in sorted(sent, key=lambda row: (row.order[0], row.id))] == [row.id for row in sent]
    assert restored.record.generation == 4


def without_end_status(entries: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Of a chunk that was the last one it is not known whether its commit was the last of all."""
    shown = list[tuple[object, ...]]()
    for event, at, data in entries:
        assert isinstance(data, dict)
        shown.append(
            (event, at, {name: value for name, value in data.items() if "chunk" not in data or name != "status"})
        )
    return shown


def test_a_queued_refined_job_that_is_complete_by_its_new_length_is_refined() -> None:
    life = Life(num_frames=48, refine=refine_spec())
    life.make(0, 1, 2)
    life.piece(1, 0)
    life.piece(2, 1)
    life.piece(3, 2)
    life.finish()
    life.extend(48)
    assert (life.job.status, life.job.refine_done) == (JobStatus.QUEUED, 2)
    job = life.steer(num_frames=48)
    assert [event.type for event in life.changes[-1].events] == [EventType.JOB_STARTED]
    assert (job.status, transitions.wants(job, Lane.REFINE)) == (JobStatus.RUNNING, True)
    life.piece(3, 2)
    assert life.finish().status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("num_frames", [56, 60, 96])
def test_a_short_chunk_that_is_to_be_completed_is_not_the_end(num_frames: int) -> None:
    life = succeeded(56)
    life.extend(16)
    assert life.steer(num_frames=num_frames).spec.num_frames == num_frames


@pytest.mark.parametrize("refine", [None, refine_spec()])
def test_a_restored_log_tells_the_end_of_a_generation_that_failed_and_was_extended(refine: RefineSpec | None) -> None:
    life = Life(num_frames=32, refine=refine)
    life.make(0, 1)
    if refine is not None:
        life.piece(1, 0)
        life.piece(2, 1)
    life.fail()
    life.retry()
    life.finish()
    life.extend(64)
    logged = [entry for change in life.changes for entry in told(change)]
    assert told(transitions.restore(life.job, life.lists)) == logged
