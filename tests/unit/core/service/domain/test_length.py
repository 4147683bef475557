"""Jobs without an end: what their length means, and changing it on the way."""

from __future__ import annotations

from typing import Any

import pytest

from core.service.domain import transitions
from core.service.domain.errors import InvalidField, JobStateConflict, StaleLease
from core.service.domain.ports import Lease, LiveStatus
from core.service.domain.scheduling import Entry
from core.service.domain.schema import ChunkRecord, JobChange, JobRecord, JobStatus, Lane, WarningCode
from core.service.domain.views import progress_of
from tests.helpers.jobs import DAY_ONE, chunk_of, job_spec, queued_job, refine_spec, with_chunks

ENDLESS: dict[str, Any] = {"num_frames": None, "endless_limit": 1000}


def running(
    count: int = 0, *, held: bool = False, refine_done: int = 0, refining: bool = False, **spec: Any
) -> JobRecord:
    """A job with so many chunks, which a worker goes on with (`held`) or refines (`refining`)."""
    job = transitions.create(queued_job(**spec)).record
    claimed = transitions.claim(job, Lane.GENERATE, DAY_ONE, 0).record
    lanes = {
        lane: claimed.lane(Lane.GENERATE).model_copy(update={"held": is_held})
        for lane, is_held in ((Lane.GENERATE, held), (Lane.REFINE, refining))
    }
    return with_chunks(claimed, count, refine_done).model_copy(update={"lanes": lanes, "refine_done": refine_done})


def changed(job: JobRecord, num_frames: int | None, limit: int | None = None) -> JobRecord:
    return transitions.steer(job, JobChange(num_frames=num_frames), DAY_ONE, limit)[0].record


def commit(job: JobRecord, chunk: ChunkRecord) -> JobRecord:
    lease = Lease(job.id, Lane.GENERATE, job.lane(Lane.GENERATE).token, "w1")
    return transitions.commit_chunk(job, lease, chunk, "f1", DAY_ONE).record


def test_the_progress_of_a_job_without_an_end_has_no_totals() -> None:
    progress = progress_of(running(3, **ENDLESS), LiveStatus())
    assert (progress.frames_done, progress.chunks_done) == (48, 3)
    assert (progress.frames_total, progress.chunks_total, progress.eta_seconds) == (None, None, None)


def test_an_engine_is_given_a_number_and_its_prompt() -> None:
    spec = job_spec(**ENDLESS, prompt_used="a long prompt").for_engine()
    assert (spec.num_frames, spec.prompt) == (1000, "a long prompt")
    assert job_spec(**ENDLESS).for_engine().prompt == "a red circle"


@pytest.mark.parametrize(("held", "least"), [(False, 48), (True, 64)])
def test_an_end_is_never_below_what_is_made_or_begun(*, held: bool, least: int) -> None:
    job = running(3, held=held, **ENDLESS)
    with pytest.raises(InvalidField) as refused:
        changed(job, least - 1)
    assert (refused.value.field, refused.value.fix) == ("num_frames", f"give at least {least}, or cancel the job")
    ended = changed(job, least)
    assert ended.spec == job_spec(num_frames=least)
    assert ended.has_sliding_playlist
    assert ended.status is (JobStatus.RUNNING if held else JobStatus.FINALIZING)
    assert changed(job, least + 1).status is JobStatus.RUNNING


def test_a_job_loses_its_end_and_a_repeated_change_changes_nothing() -> None:
    job = running(1, num_frames=48)
    assert not job.has_sliding_playlist
    endless = changed(job, None, 500)
    assert (endless.spec.num_frames, endless.spec.endless_limit) == (None, 500)
    assert endless.has_sliding_playlist
    assert endless.revision == job.revision + 1
    assert changed(endless, None, 700) is endless
    assert changed(job, 48) is job


def test_a_queued_job_takes_any_length() -> None:
    job = transitions.create(queued_job(num_frames=40)).record
    assert changed(changed(job, None, 900), 16).spec.num_frames == 16


@pytest.mark.parametrize("job", [running(2, held=True, num_frames=40), running(3, refine=refine_spec(), num_frames=40)])
def test_a_short_last_chunk_that_is_made_or_begun_stays_the_last(job: JobRecord) -> None:
    for num_frames in (41, None):
        with pytest.raises(JobStateConflict, match="the last chunk, which ends at frame 40"):
            changed(job, num_frames, 900)


@pytest.mark.parametrize(
    ("refine_done", "refining", "refused"), [(1, False, False), (1, True, False), (2, True, True), (0, False, False)]
)
def test_the_end_stays_once_it_is_refined(*, refine_done: int, refining: bool, refused: bool) -> None:
    """Of 48 frames the windows begin at 0, 16 and, slid, 24."""
    job = running(3, refine_done=refine_done, refining=refining, num_frames=48, refine=refine_spec())
    if refused:
        with pytest.raises(JobStateConflict, match="refined or begun"):
            changed(job, 96)
        return
    longer = changed(job, 96)
    assert (longer.status, longer.spec.num_frames) == (JobStatus.RUNNING, 96)


def test_lockstep_that_has_begun_keeps_its_length() -> None:
    lockstep = refine_spec(schedule="lockstep")
    with pytest.raises(JobStateConflict):
        changed(running(3, refining=True, num_frames=48, refine=lockstep), 96)
    assert changed(running(3, num_frames=48, refine=lockstep), 96).spec.num_frames == 96


def test_an_end_and_a_prompt_in_one_change() -> None:
    job = running(3, **ENDLESS)
    with pytest.raises(JobStateConflict):
        transitions.steer(job, JobChange(num_frames=48, prompt="a blue square"), DAY_ONE)
    transition, frame = transitions.steer(job, JobChange(num_frames=80, prompt="a blue square"), DAY_ONE)
    assert (transition.record.spec.num_frames, frame) == (80, 48)


def test_a_late_chunk_of_another_length_is_refused() -> None:
    """Its worker lost the lease, but no other has claimed the lane since."""
    job = running(2, **ENDLESS)
    ended = changed(job, 40)
    with pytest.raises(StaleLease, match="another length"):
        commit(ended, chunk_of(job, 2))
    assert commit(ended, chunk_of(ended, 2)).status is JobStatus.FINALIZING


def test_a_job_without_an_end_ends_at_the_operator_s_limit_with_a_warning() -> None:
    job = running(2, num_frames=None, endless_limit=40)
    ended = commit(job, chunk_of(job, 2))
    assert (ended.status, ended.frames_done, ended.chunks.last and ended.chunks.last.num_frames) == (
        JobStatus.FINALIZING,
        40,
        8,
    )
    assert [warning.code for warning in ended.warnings] == [WarningCode.ENDLESS_LIMIT]
    assert not commit(running(2, num_frames=40), chunk_of(job, 2)).warnings


def test_jobs_without_an_end_take_turns_with_new_ones() -> None:
    """`running` begins at noon; its chunk n is made n seconds later."""
    begun, endless = running(3, num_frames=80), running(3, **ENDLESS)
    older, newer = queued_job(2, age_seconds=5), queued_job(3, age_seconds=-5)
    entries = [transitions.entry_of(each, Lane.GENERATE) for each in (newer, endless, older, begun)]

    def order(entry: Entry) -> tuple[bool, float]:
        return not entry.begun, entry.order

    in_turn = sorted((each for each in entries if each), key=order)
    assert [entry.job_id for entry in in_turn] == [job.id for job in (begun, older, endless, newer)]
