"""Changing a job's prompt on the way: when it acts, what is refused, and what its log says after a loss of Redis."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from core.service.domain import transitions
from core.service.domain.errors import InvalidField, JobNotFound, JobStateConflict
from core.service.domain.ports import Lease
from core.service.domain.priority import Priority
from core.service.domain.schema import ChunkLists, EventType, JobChange, JobRecord, JobStatus, Lane, PromptChange
from tests.helpers.jobs import DAY_ONE, chunk_of, chunks_of, queued_job

LATER = DAY_ONE + timedelta(seconds=9)
HOOKED: dict[str, Any] = {
    "webhook_url": "https://example.com/hook",
    "webhook_events": ("chunk.completed", "job.prompt_changed", "job.canceled"),
}


def claimed(job: JobRecord) -> JobRecord:
    return transitions.claim(job, Lane.GENERATE, DAY_ONE, 0).record


def with_chunk(job: JobRecord) -> JobRecord:
    """After the commit of the next chunk."""
    held = claimed(job)
    lease = Lease(job.id, Lane.GENERATE, held.lane(Lane.GENERATE).token, "w1")
    return transitions.commit_chunk(held, lease, chunk_of(job, job.chunks.count), "f1", LATER).record


def created(**spec: Any) -> JobRecord:
    return transitions.create(queued_job(num_frames=80, **spec)).record


def steered(job: JobRecord, prompt: str, from_frame: int | None = None) -> JobRecord:
    return transitions.steer(job, JobChange(prompt=prompt, from_frame=from_frame), LATER)[0].record


@pytest.mark.parametrize(
    ("job", "first"),
    [
        (created(), 0),
        (claimed(created()), 16),
        (with_chunk(created()), 16),
        (claimed(with_chunk(created())), 32),
    ],
)
def test_a_prompt_acts_from_the_first_chunk_that_nobody_has_begun(job: JobRecord, first: int) -> None:
    transition, frame = transitions.steer(job, JobChange(prompt="a blue square"), LATER)
    assert (frame, transitions.first_open_frame(job)) == (first, first)
    if first:
        assert transition.record.spec.prompt_changes == (PromptChange(start_frame=first, text="a blue square"),)
    else:
        assert transition.record.spec.prompt == "a blue square"
    assert [event.type for event in transition.events] == [EventType.JOB_PROMPT_CHANGED]
    assert transition.events[0].data["from_frame"] == first
    assert transition.events[0].data["prompt"] == "a blue square"
    assert transition.record.revision == job.revision + 1, "it must reach the manifest"


@pytest.mark.parametrize("job", [created(), claimed(created()), with_chunk(created())])
def test_a_priority_is_changed_without_an_event_and_reaches_the_manifest(job: JobRecord) -> None:
    transition, frame = transitions.steer(job, JobChange(priority=Priority.HIGH), LATER)
    assert (transition.events, frame) == ((), None)
    after = transition.record
    assert after.revision == job.revision + 1
    expected = job.spec.model_copy(update={"priority": Priority.HIGH})
    assert after == job.model_copy(update={"spec": expected, "revision": after.revision})
    assert transitions.steer(after, JobChange(priority=Priority.HIGH), LATER)[0].record is after


def test_priority_metadata_and_prompt_are_changed_together() -> None:
    change = JobChange(prompt="b", priority=Priority.LOW, metadata={"a": "b"})
    transition, frame = transitions.steer(with_chunk(created()), change, LATER)
    spec = transition.record.spec
    assert (spec.priority, spec.metadata, frame) == (Priority.LOW, {"a": "b"}, 16)
    assert [event.type for event in transition.events] == [EventType.JOB_PROMPT_CHANGED]


def test_metadata_is_emptied() -> None:
    job = created(metadata={"a": "b"})
    assert transitions.steer(job, JobChange(metadata={}), LATER)[0].record.spec.metadata == {}


def test_a_later_frame_is_taken_and_later_prompts_stay() -> None:
    job = with_chunk(created(prompt_changes=(PromptChange(start_frame=64, text="c"),)))
    changes = steered(job, "b", 41).spec.prompt_changes
    assert [(change.start_frame, change.text) for change in changes] == [(41, "b"), (64, "c")]


@pytest.mark.parametrize(("from_frame", "told"), [(15, "at least 16"), (80, "at most 79")])
def test_a_frame_that_cannot_be_changed_is_refused_with_one_that_can(from_frame: int, told: str) -> None:
    with pytest.raises(InvalidField) as refused:
        steered(with_chunk(created()), "b", from_frame)
    assert refused.value.field == "from_frame"
    assert told in (refused.value.fix or "")


def test_the_same_change_again_changes_nothing_and_says_where_it_acts() -> None:
    job = steered(with_chunk(created()), "b")
    again, frame = transitions.steer(with_chunk(job), JobChange(prompt="b"), LATER)
    assert (again.events, frame) == ((), 16)


@pytest.mark.parametrize("status", [s for s in JobStatus if s not in {JobStatus.QUEUED, JobStatus.RUNNING}])
def test_a_job_that_ends_or_has_ended_is_not_changed(status: JobStatus) -> None:
    job = created().model_copy(update={"status": status})
    for change in (JobChange(prompt="b"), JobChange(metadata={"a": "b"})):
        with pytest.raises(JobStateConflict) as refused:
            transitions.steer(job, change, LATER)
        assert refused.value.fix


def test_a_job_whose_last_chunk_is_begun_is_not_changed() -> None:
    with pytest.raises(JobStateConflict, match="all 32 frames"):
        steered(claimed(with_chunk(queued_job())), "b")


def test_a_deleted_job_is_not_found() -> None:
    with pytest.raises(JobNotFound):
        steered(created().model_copy(update={"delete_requested": True}), "b")


def test_metadata_is_replaced_without_an_event() -> None:
    job = created(metadata={"a": "1", "b": "2"})
    transition, frame = transitions.steer(job, JobChange(metadata={"c": "3"}), LATER)
    assert (transition.record.spec.metadata, transition.events, frame) == ({"c": "3"}, (), None)
    assert transition.record.revision == job.revision + 1
    assert transitions.steer(transition.record, JobChange(metadata={"c": "3"}), LATER)[0].record is transition.record


def test_a_record_does_not_grow_without_bound() -> None:
    job = created()
    full = job.model_copy(update={"steering": steered(job, "b").steering * transitions.MAX_STEERINGS})
    with pytest.raises(JobStateConflict, match="limit"):
        steered(full, "c")


def test_a_record_does_not_grow_by_long_prompts_without_bound() -> None:
    job = created()
    for number in range(16):
        job = steered(job, chr(97 + number) * 4000)
    with pytest.raises(JobStateConflict, match="65536 characters") as refused:
        steered(job, "q" * 4000)
    assert refused.value.fix == "branch it"
    assert steered(job, "q" * 1536).spec.prompt == "q" * 1536


def test_webhooks_of_several_changes_are_apart_and_sorted_after_their_chunk_and_before_the_end() -> None:
    job = with_chunk(created(**HOOKED))
    first = transitions.steer(job, JobChange(prompt="b"), LATER)[0]
    second = transitions.steer(first.record, JobChange(prompt="c" * 4000), LATER)[0]
    ids = [each.deliveries[0].id for each in (first, second)]
    suffixes = ["chunk_completed", *(one.rpartition("_1_")[2] for one in ids), "job_canceled"]
    assert (len(set(ids)), suffixes) == (2, sorted(suffixes))
    body = json.loads(second.deliveries[0].body)
    assert (body["type"], body["data"]["from_frame"]) == ("job.prompt_changed", 16)
    assert body["data"]["prompt"] == "c" * 1000


def test_a_restored_job_has_its_changes_where_they_were_in_the_log() -> None:
    job = steered(created(**HOOKED), "b")
    log = ["job.queued", "job.prompt_changed", "job.started", "chunk.completed"]
    job = steered(steered(with_chunk(job), "c"), "d")
    restored = transitions.restore(with_chunk(job), ChunkLists(chunks_of(job, 2)))
    assert [event.type for event in restored.events] == [*log, *["job.prompt_changed"] * 2, "chunk.completed"]
    told = [event.data for event in restored.events if event.type is EventType.JOB_PROMPT_CHANGED]
    assert [(data["from_frame"], data["prompt"], data["frames_done"]) for data in told] == [
        (0, "b", 0),
        (16, "c", 16),
        (16, "d", 16),
    ]
    assert len({row.id for row in restored.deliveries}) == 5
