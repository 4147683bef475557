"""The status graph, and the events of each transition. How stores apply them: tests/helpers/store_contract/."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

import pytest

from core.service.domain import transitions
from core.service.domain.errors import JobNotFound, JobStateConflict, StaleLease
from core.service.domain.ports import Lease, Results
from core.service.domain.refine_plan import is_made
from core.service.domain.schema import (
    VARIANTS,
    ChunkLists,
    ChunkRecord,
    EventType,
    FingerprintChange,
    JobError,
    JobRecord,
    JobStatus,
    Lane,
    LaneState,
    PreparedMedia,
)
from core.service.domain.schema.older import totals_of
from core.service.domain.webhooks import KEPT_PENDING
from tests.helpers.jobs import DAY_ONE, chunk_of, queued_job, refine_spec

LATER = DAY_ONE + timedelta(seconds=90)
KEPT = timedelta(days=1)
ERROR = JobError(code="boom", message="it broke", retryable=False)
TERMINAL = [status for status in JobStatus if status.is_terminal]


def job_in(status: JobStatus, **changes: object) -> JobRecord:
    return queued_job().model_copy(update={"status": status, **changes})


def lease_of(record: JobRecord, lane: Lane = Lane.GENERATE, token: int | None = None) -> Lease:
    return Lease(record.id, lane, record.lane(lane).token if token is None else token, "w1")


def with_chunks(record: JobRecord, count: int) -> JobRecord:
    """As an older version left them: without the version of each chunk."""
    return record.model_copy(update={"chunks": totals_of(made(record, count)), "version": count})


def made(record: JobRecord, count: int) -> tuple[ChunkRecord, ...]:
    return tuple(chunk_of(record, index) for index in range(count))


def lists_after(changes: Sequence[transitions.Transition], before: ChunkLists) -> ChunkLists:
    """The chunks that are stored after these changes, which repair none."""
    written = [write for change in changes for write in change.chunks]
    preview, refined = (
        (*before.of(variant), *(write.chunk for write in written if write.variant == variant)) for variant in VARIANTS
    )
    return ChunkLists(preview, refined)


def test_every_status_is_in_the_graph_and_ended_jobs_only_begin_anew() -> None:
    assert set(transitions.NEXT_STATUSES) == set(JobStatus)
    anew = {JobStatus.QUEUED}
    assert all(transitions.NEXT_STATUSES[status] <= anew for status in TERMINAL)


@pytest.mark.parametrize("status", TERMINAL)
def test_nothing_moves_an_ended_job(status: JobStatus) -> None:
    job = job_in(status, cancel_requested=status is JobStatus.CANCELED)
    assert transitions.fail(job, ERROR, LATER, KEPT).record is job
    assert transitions.begin_finalizing(job).record is job
    assert not any(transitions.wants(job, lane) for lane in Lane)
    with pytest.raises(StaleLease):
        transitions.commit_chunk(job, lease_of(job), chunk_of(job, 0), "f", LATER)


@pytest.mark.parametrize("status", [s for s in JobStatus if s not in {JobStatus.RUNNING, JobStatus.CANCELING}])
def test_chunks_are_taken_while_running_or_canceling_only(status: JobStatus) -> None:
    job = job_in(status)
    with pytest.raises(StaleLease):
        transitions.commit_chunk(job, lease_of(job), chunk_of(job, 0), "f", LATER)


@pytest.mark.parametrize(
    ("status", "lane", "wanted"),
    [
        (JobStatus.QUEUED, Lane.GENERATE, True),
        (JobStatus.RUNNING, Lane.GENERATE, True),
        (JobStatus.CANCELING, Lane.GENERATE, False),
        (JobStatus.FINALIZING, Lane.GENERATE, False),
        (JobStatus.FINALIZING, Lane.FINALIZE, True),
        (JobStatus.RUNNING, Lane.FINALIZE, False),
    ],
)
def test_a_lane_is_wanted_in_its_statuses(status: JobStatus, lane: Lane, wanted: bool) -> None:
    assert transitions.wants(job_in(status), lane) == wanted


def test_a_deleted_job_wants_nothing() -> None:
    assert not transitions.wants(job_in(JobStatus.FINALIZING, delete_requested=True), Lane.FINALIZE)


def test_the_first_claim_starts_the_job_and_later_ones_do_not() -> None:
    first = transitions.claim(queued_job(), Lane.GENERATE, LATER, 0)
    again = transitions.claim(first.record, Lane.GENERATE, LATER + KEPT, 0)
    assert (first.record.status, first.record.started_at) == (JobStatus.RUNNING, LATER)
    assert [event.type for event in first.events] == [EventType.JOB_STARTED]
    assert (again.events, again.record.started_at) == ((), LATER)
    assert again.record.lane(Lane.GENERATE) == LaneState(token=2, held=True, deaths=1, lonely_deaths=1)


def test_a_lane_that_an_older_version_claimed_is_not_given_back_by_the_lease_before() -> None:
    """An older version leaves fields that it does not know as they are."""
    job = transitions.claim(queued_job(num_frames=48), Lane.GENERATE, LATER, 0).record
    kept = transitions.commit_and_claim(job, lease_of(job), chunk_of(job, 0), "f", LATER, 0).record
    before = lease_of(job, token=1)
    assert transitions.release(kept, before, count_attempt=False)
    state = kept.lane(Lane.GENERATE)
    claimed_by_older = state.model_copy(update={"token": state.token + 1})
    older = kept.model_copy(update={"lanes": {Lane.GENERATE: claimed_by_older}})
    assert transitions.release(older, lease_of(kept), count_attempt=False) is None
    assert not transitions.is_kept(claimed_by_older, lease_of(kept))


def test_a_death_does_not_count_as_poison_if_no_other_job_progressed() -> None:
    job = transitions.claim(queued_job(), Lane.GENERATE, LATER, 7).record
    lonely = transitions.claim(job, Lane.GENERATE, LATER, 7).record.lane(Lane.GENERATE)
    among_others = transitions.claim(job, Lane.GENERATE, LATER, 8).record.lane(Lane.GENERATE)
    assert [(state.deaths, state.lonely_deaths) for state in (lonely, among_others)] == [(1, 1), (1, 0)]


def test_only_commits_of_engines_count_as_progress_of_other_jobs() -> None:
    job = queued_job(video="https://example.com/a.mp4")
    held = transitions.claim(job, Lane.PREPARE, LATER, 0).record
    prepared = PreparedMedia(key="jobs/a/input/1", sha256="0" * 64, at=LATER)
    assert not transitions.commit_prepare(held, lease_of(held, Lane.PREPARE), prepared).is_commit
    made = transitions.claim(queued_job(), Lane.GENERATE, LATER, 0).record
    assert transitions.commit_chunk(made, lease_of(made), chunk_of(made, 0), "f", LATER).is_commit


@pytest.mark.parametrize(
    ("deaths", "lonely", "poison"), [(4, 0, False), (5, 0, True), (19, 15, False), (19, 14, True), (20, 20, True)]
)
def test_a_piece_that_ends_many_workers_while_others_progress_is_poison(deaths: int, lonely: int, poison: bool) -> None:
    assert transitions.is_poison(LaneState(deaths=deaths, lonely_deaths=lonely)) is poison


def test_a_lane_released_for_a_dead_worker_counts_one_death() -> None:
    job = transitions.claim(queued_job(), Lane.GENERATE, LATER, 0).record
    freed = transitions.abandon(job, Lane.GENERATE, 1, 0)
    assert freed is not None
    assert freed.record.lane(Lane.GENERATE) == LaneState(token=1, deaths=1, lonely_deaths=1)
    assert transitions.abandon(freed.record, Lane.GENERATE, 1, 0) is None
    assert transitions.claim(freed.record, Lane.GENERATE, LATER, 0).record.lane(Lane.GENERATE).deaths == 1


def test_a_release_is_made_once() -> None:
    job = transitions.claim(queued_job(), Lane.GENERATE, LATER, 0).record
    freed = transitions.release(job, lease_of(job), count_attempt=True)
    assert freed is not None
    assert freed.record.lane(Lane.GENERATE).attempts == 1
    assert transitions.release(freed.record, lease_of(job), count_attempt=True) is None


def test_a_job_is_finalised_when_its_last_lane_is_released() -> None:
    job = transitions.claim(queued_job(), Lane.GENERATE, LATER, 0).record
    canceling = transitions.request_cancel(job, LATER, KEPT).record
    assert canceling.status is JobStatus.CANCELING
    freed = transitions.release(canceling, lease_of(job), count_attempt=False)
    assert freed is not None
    assert freed.record.status is JobStatus.FINALIZING


def test_revision_counts_what_the_manifest_must_have() -> None:
    job = transitions.create(queued_job()).record
    running = transitions.claim(job, Lane.GENERATE, LATER, 0).record
    claimed_again = transitions.claim(running, Lane.GENERATE, LATER, 0).record
    assert [one.revision for one in (job, running, claimed_again)] == [1, 2, 2]


def test_lanes_count_apart() -> None:
    job = transitions.claim(job_in(JobStatus.FINALIZING), Lane.FINALIZE, LATER, 0).record
    assert (job.lane(Lane.FINALIZE).token, job.lane(Lane.GENERATE).token) == (1, 0)


def test_a_commit_records_the_time_of_the_first_chunk_and_its_engine() -> None:
    job = job_in(JobStatus.RUNNING)
    first = transitions.commit_chunk(job, lease_of(job), chunk_of(job, 0), "f1", LATER)
    assert first.record.first_chunk_at == LATER
    assert (first.released, first.cleared_progress) == (Lane.GENERATE, (Lane.GENERATE,))
    second = transitions.commit_chunk(first.record, lease_of(job), chunk_of(job, 1), "f2", LATER + KEPT)
    assert second.record.first_chunk_at == LATER
    assert second.record.fingerprints == (
        FingerprintChange(from_chunk=0, fingerprint="f1"),
        FingerprintChange(from_chunk=1, fingerprint="f2"),
    )
    assert second.record.fingerprint == "f2"


def test_a_fingerprint_that_stays_is_noted_once() -> None:
    job = job_in(JobStatus.RUNNING)
    first = transitions.commit_chunk(job, lease_of(job), chunk_of(job, 0), "f1", LATER).record
    assert len(transitions.commit_chunk(first, lease_of(job), chunk_of(job, 1), "f1", LATER).record.fingerprints) == 1


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.CANCELING])
def test_the_last_frame_makes_a_job_finalizing(status: JobStatus) -> None:
    job = with_chunks(job_in(status), 1)
    after = transitions.commit_chunk(job, lease_of(job), chunk_of(job, 1), "f", LATER).record
    assert (after.status, after.version, after.is_complete) == (JobStatus.FINALIZING, 2, True)


@pytest.mark.parametrize("index", [0, 2])
def test_only_the_next_chunk_is_committed(index: int) -> None:
    job = with_chunks(job_in(JobStatus.RUNNING, spec=queued_job(num_frames=64).spec), 1)
    other = chunk_of(job, index).model_copy(update={"sha256": "other"})
    with pytest.raises(StaleLease):
        transitions.commit_chunk(job, lease_of(job), other, "f", LATER)


@pytest.mark.parametrize("token", [0, 2])
def test_only_the_newest_token_commits(token: int) -> None:
    job = transitions.claim(queued_job(), Lane.GENERATE, LATER, 0).record
    with pytest.raises(StaleLease):
        transitions.commit_chunk(job, lease_of(job, token=token), chunk_of(job, 0), "f", LATER)


def test_finalizing_never_cuts_a_video_short_unasked() -> None:
    with pytest.raises(JobStateConflict):
        transitions.begin_finalizing(with_chunks(job_in(JobStatus.RUNNING), 1))
    canceling = with_chunks(job_in(JobStatus.CANCELING, cancel_requested=True), 1)
    assert transitions.begin_finalizing(canceling).record.status is JobStatus.FINALIZING


@pytest.mark.parametrize(("cancel", "status"), [(False, JobStatus.SUCCEEDED), (True, JobStatus.CANCELED)])
def test_a_job_whose_cancel_was_requested_ends_as_canceled(cancel: bool, status: JobStatus) -> None:
    job = with_chunks(job_in(JobStatus.FINALIZING, cancel_requested=cancel), 1)
    ending = transitions.finish(job, lease_of(job, Lane.FINALIZE), results=Results("v"), at=LATER, retention=KEPT)
    assert (ending.record.status, ending.record.video_key) == (status, "v")
    assert (ending.record.finished_at, ending.record.expires_at) == (LATER, LATER + KEPT)
    assert [event.type for event in ending.events] == [f"job.{status}"]
    assert ending.released is Lane.FINALIZE


@pytest.mark.parametrize("status", [s for s in JobStatus if s.is_terminal or s is JobStatus.FINALIZING])
def test_it_can_be_too_late_to_cancel(status: JobStatus) -> None:
    with pytest.raises(JobStateConflict):
        transitions.request_cancel(job_in(status), LATER, KEPT)


def test_canceling_a_canceled_job_that_is_finalized_changes_nothing() -> None:
    job = job_in(JobStatus.FINALIZING, cancel_requested=True)
    assert transitions.request_cancel(job, LATER, KEPT).record is job


@pytest.mark.parametrize("status", [s for s in JobStatus if not s.is_terminal])
def test_deleting_ends_a_job_without_a_webhook(status: JobStatus) -> None:
    deleted = transitions.request_delete(
        job_in(status, spec=queued_job(webhook_url="https://example.com").spec), LATER, KEPT
    )
    assert (deleted.record.status, deleted.record.delete_requested) == (JobStatus.CANCELED, True)
    assert [event.type for event in deleted.events] == [EventType.JOB_CANCELED]
    assert deleted.deliveries == ()


@pytest.mark.parametrize("status", TERMINAL)
def test_deleting_an_ended_job_keeps_how_it_ended(status: JobStatus) -> None:
    deleted = transitions.request_delete(job_in(status), LATER, KEPT)
    assert (deleted.record.status, deleted.record.delete_requested, deleted.events) == (status, True, ())


def test_a_deleted_job_is_not_found_by_any_change() -> None:
    job = job_in(JobStatus.CANCELED, delete_requested=True)
    for change in (
        lambda: transitions.begin_finalizing(job),
        lambda: transitions.fail(job, ERROR, LATER, KEPT),
        lambda: transitions.request_cancel(job, LATER, KEPT),
        lambda: transitions.request_delete(job, LATER, KEPT),
        lambda: transitions.commit_chunk(job, lease_of(job), chunk_of(job, 0), "f", LATER),
    ):
        with pytest.raises(JobNotFound):
            change()


def test_a_release_by_a_stale_lease_is_nothing() -> None:
    job = transitions.claim(queued_job(), Lane.GENERATE, LATER, 0).record
    assert transitions.release(job, lease_of(job, token=0), count_attempt=True) is None


def test_an_event_holds_status_version_and_frames() -> None:
    job = job_in(JobStatus.RUNNING)
    (event,) = transitions.commit_chunk(job, lease_of(job), chunk_of(job, 0), "f", LATER).events
    assert event.at == LATER
    assert {key: event.data[key] for key in ("status", "version", "frames_done", "frames_total")} == {
        "status": "running",
        "version": 1,
        "frames_done": 16,
        "frames_total": 32,
    }
    assert event.data["chunk"] == {
        "index": 0,
        "first_frame": 0,
        "num_frames": 16,
        "size_bytes": 5000,
        "sha256": "0" * 64,
    }


def test_a_failure_event_holds_the_error() -> None:
    (event,) = transitions.fail(queued_job(), ERROR, LATER, KEPT).events
    assert event.data["error"] == {"code": "boom", "message": "it broke", "retryable": False}


def test_a_delivery_is_due_at_once_and_holds_the_event() -> None:
    job = job_in(JobStatus.RUNNING, spec=queued_job(webhook_url="https://example.com/hook").spec)
    (row,) = transitions.fail(job, ERROR, LATER, KEPT).deliveries
    assert (row.job_id, row.url, row.event_type, row.next_attempt_at) == (
        job.id,
        "https://example.com/hook",
        EventType.JOB_FAILED,
        LATER,
    )
    assert json.loads(row.body)["type"] == "job.failed"


def test_events_not_asked_for_are_not_delivered() -> None:
    spec = queued_job(webhook_url="https://example.com/hook", webhook_events=("job.succeeded",)).spec
    assert transitions.fail(job_in(JobStatus.RUNNING, spec=spec), ERROR, LATER, KEPT).deliveries == ()
    assert transitions.create(job_in(JobStatus.QUEUED, spec=spec)).deliveries == ()


def test_a_restored_job_has_its_whole_log_and_the_webhooks_that_may_not_have_arrived() -> None:
    spec = queued_job(webhook_url="https://example.com/hook").spec
    job = with_chunks(job_in(JobStatus.SUCCEEDED, spec=spec, started_at=DAY_ONE, finished_at=LATER), 2)
    lists = ChunkLists(made(job, 2))
    restored = transitions.restore(job, lists)
    assert [(event.type.value, event.data["status"], event.data["version"]) for event in restored.events] == [
        ("job.queued", "queued", 0),
        ("job.started", "running", 0),
        ("chunk.completed", "running", 1),
        ("chunk.completed", "finalizing", 2),
        ("job.succeeded", "succeeded", 2),
    ]
    assert [row.event_type for row in restored.deliveries] == ["job.succeeded"]
    assert transitions.restore(transitions.end_webhooks(job, 1).record, lists).deliveries == ()


def test_of_the_webhooks_of_chunks_that_may_not_have_arrived_the_newest_are_restored() -> None:
    events, count = ("chunk.completed", "job.succeeded"), KEPT_PENDING + 3
    spec = queued_job(num_frames=16 * count, webhook_url="https://example.com/hook", webhook_events=events).spec
    ended = job_in(JobStatus.SUCCEEDED, spec=spec, started_at=DAY_ONE, finished_at=LATER)
    job = transitions.end_webhooks(with_chunks(ended, count), 1).record
    rows = transitions.restore(job, ChunkLists(made(job, count))).deliveries
    assert [row.order[0] for row in rows] == [*range(4, count + 1), count]
    assert [row.event_type for row in rows[-2:]] == ["chunk.completed", "job.succeeded"]


def test_a_restored_lane_is_beyond_every_old_token() -> None:
    job = transitions.claim(queued_job(), Lane.GENERATE, LATER, 0).record
    lane = transitions.restore(job, ChunkLists()).record.lane(Lane.GENERATE)
    assert lane.token > job.lane(Lane.GENERATE).token + 1000
    assert not lane.held


def refined_job(status: JobStatus = JobStatus.RUNNING, num_frames: int = 40, count: int = 3) -> JobRecord:
    """A job to be refined in two windows, of which `count` chunks are made."""
    spec = queued_job(num_frames=num_frames, refine=refine_spec()).spec
    return with_chunks(job_in(status, spec=spec, started_at=DAY_ONE), count)


def refined(job: JobRecord, done: int, *indices: int) -> transitions.Transition:
    chunks = tuple(chunk_of(job, index) for index in indices)
    return transitions.commit_refined(job, lease_of(job, Lane.REFINE), done, chunks, "r1", LATER)


def test_refining_is_wanted_while_running_with_the_frames_there() -> None:
    assert transitions.wants(refined_job(), Lane.REFINE)
    assert not transitions.wants(refined_job(count=1), Lane.REFINE)
    assert not transitions.wants(refined_job(JobStatus.CANCELING), Lane.REFINE)
    assert not transitions.wants(with_chunks(job_in(JobStatus.RUNNING), 2), Lane.REFINE)


def test_the_last_preview_chunk_does_not_end_a_job_that_is_still_refined() -> None:
    job = refined_job(count=2)
    after = transitions.commit_chunk(job, lease_of(job), chunk_of(job, 2), "f", LATER).record
    assert (after.status, after.is_complete, is_made(after)) == (JobStatus.RUNNING, True, False)
    with pytest.raises(JobStateConflict):
        transitions.begin_finalizing(after)


def test_the_last_window_ends_the_job_with_an_event_for_each_of_its_chunks() -> None:
    first = refined(refined_job(), 1, 0)
    last = refined(first.record, 2, 1, 2)
    assert (first.record.status, last.record.status) == (JobStatus.RUNNING, JobStatus.FINALIZING)
    assert [(event.type.value, event.data["chunk"]["index"], event.data["version"]) for event in last.events] == [
        ("chunk.refined", 1, 5),
        ("chunk.refined", 2, 6),
    ]
    assert (last.record.version, last.released, last.cleared_progress) == (6, Lane.REFINE, (Lane.REFINE,))


def test_a_piece_that_publishes_nothing_is_counted() -> None:
    after = refined(refined_job(), 1)
    assert (after.record.refine_done, after.record.version, after.events) == (1, 4, ())


def test_a_repeated_piece_changes_nothing_and_one_out_of_turn_is_refused() -> None:
    once = refined(refined_job(), 1, 0).record
    assert refined(once, 1, 0).record is once
    for done, indices in [(1, (1,)), (3, (1,)), (2, (2,))]:
        with pytest.raises(StaleLease):
            refined(once, done, *indices)
    with pytest.raises(StaleLease):
        refined(once.model_copy(update={"status": JobStatus.FINALIZING}), 2, 1, 2)


def test_a_restored_refined_job_has_the_events_of_both_lanes_in_order() -> None:
    first = refined(refined_job(), 1, 0)
    last = refined(first.record, 2, 1, 2)
    lists = lists_after([first, last], ChunkLists(made(last.record, 3)))
    events = transitions.restore(last.record, lists).events
    told = [(event.type.value.removeprefix("chunk."), event.data["chunk"]["index"]) for event in events[2:]]
    assert told == [
        ("completed", 0),
        ("refined", 0),
        ("completed", 1),
        ("refined", 1),
        ("completed", 2),
        ("refined", 2),
    ]
    assert (events[-1].data["status"], events[-1].data["version"]) == ("finalizing", 6)


@pytest.mark.parametrize(
    ("schedule", "pieces"),
    [("streaming", [(0,), (1, 2)]), ("lockstep", [(), (), (0,), (1,), (2,)])],
)
def test_a_restored_log_is_the_one_that_was_lost(schedule: str, pieces: list[tuple[int, ...]]) -> None:
    """Clients go on after the entry that they know, and receivers know webhooks by ids that hold the version."""
    job = queued_job(num_frames=40, refine=refine_spec(schedule=schedule, num_inference_steps=2))
    changes = [transitions.create(job)]
    changes.append(transitions.claim(changes[-1].record, Lane.GENERATE, LATER, 0))
    for index in range(3):
        job = changes[-1].record
        changes.append(transitions.commit_chunk(job, lease_of(job), chunk_of(job, index), "f", LATER))
    for done, published in enumerate(pieces, start=1):
        changes.append(refined(changes[-1].record, done, *published))
    restored = transitions.restore(changes[-1].record, lists_after(changes, ChunkLists())).events
    assert [(event.type, event.data["version"], event.data.get("chunk")) for event in restored] == [
        (event.type, event.data["version"], event.data.get("chunk")) for change in changes for event in change.events
    ]


def test_of_a_very_long_job_only_the_newest_events_are_restored_under_their_ids() -> None:
    job = with_chunks(job_in(JobStatus.RUNNING, spec=queued_job(num_frames=48_000).spec, started_at=DAY_ONE), 2500)
    restored = transitions.restore(job, ChunkLists(made(job, 2500)))
    assert (len(restored.events), restored.record.num_events) == (transitions.KEPT_EVENTS, 2502)
    assert restored.events[-1].data["chunk"]["index"] == 2499


def test_a_commit_costs_the_same_however_long_the_job_is() -> None:
    """The record keeps totals, so that nothing in it grows with the chunks."""
    spec = queued_job(num_frames=10**6).spec
    first, later = (len(with_chunks(job_in(JobStatus.RUNNING, spec=spec), n).model_dump_json()) for n in (100, 5000))
    assert later - first < 20  # longer numbers


def test_a_last_chunk_that_is_replaced_by_a_longer_one_counts_with_its_new_length() -> None:
    job = with_chunks(job_in(JobStatus.RUNNING, spec=queued_job(num_frames=40).spec), 3)
    assert job.frames_done == 40
    longer = chunk_of(job, 2).model_copy(update={"num_frames": 16, "key": "jobs/x/chunks/00002-1.mp4"})
    totals = job.chunks.with_replaced(longer)
    assert (totals.count, totals.num_frames, totals.last) == (3, 48, longer)
    assert job.chunks.with_replaced(chunk_of(job, 0)) == job.chunks


def test_deliveries_of_one_moment_are_ordered_by_their_version() -> None:
    job = refined_job().model_copy(
        update={
            "version": 8,
            "refine_done": 1,
            "refined": totals_of(made(refined_job(), 1)),
            "spec": queued_job(
                num_frames=40,
                refine=refine_spec(),
                webhook_url="https://example.com/hook",
                webhook_events=("chunk.refined",),
            ).spec,
        }
    )
    rows = refined(job, 2, 1, 2).deliveries
    assert [row.id.split("_")[2] for row in rows] == ["9", "10"]
    assert sorted(reversed(rows), key=lambda row: row.order) == list(rows)
