"""Refinement as a sequence of pieces: every frame once, each piece as soon as its frames exist."""

import pytest

from core.service.domain.frame_plan import num_chunks
from core.service.domain.refine_plan import is_ready, num_pieces, refine_piece, spans_of
from core.service.domain.schema import JobRecord, JobStatus, RefineSchedule
from tests.helpers.jobs import job_spec, queued_job, refine_spec, with_chunks


def refined_job(num_frames: int, num_made: int = 0, schedule: RefineSchedule = "streaming") -> JobRecord:
    job = queued_job(num_frames=num_frames, refine=refine_spec(schedule=schedule))
    return with_chunks(job, num_made).model_copy(update={"status": JobStatus.RUNNING})


@pytest.mark.parametrize("schedule", ["streaming", "lockstep"])
@pytest.mark.parametrize("num_frames", [16, 17, 24, 25, 40, 48, 100])
def test_the_pieces_publish_every_frame_once_in_whole_chunks(num_frames: int, schedule: RefineSchedule) -> None:
    spec = job_spec(num_frames=num_frames, refine=refine_spec(schedule=schedule))
    pieces = [refine_piece(spec, index) for index in range(num_pieces(spec))]
    assert [frame for piece in pieces for frame in piece.publishes] == list(range(num_frames))
    spans = [span for piece in pieces for span in spans_of(piece.publishes, num_frames)]
    assert [span.index for span in spans] == list(range(num_chunks(num_frames)))


def test_a_window_reads_its_own_frames_and_the_state_of_the_one_before() -> None:
    spec = job_spec(num_frames=43, refine=refine_spec())
    first, second, last = (refine_piece(spec, index) for index in range(3))
    assert (first.state_of, first.needs) == (None, range(24))
    assert (second.state_of, second.needs) == (0, range(16, 40))
    assert (last.state_of, last.needs, last.publishes) == (1, range(19, 43), range(32, 43))


def test_lockstep_reads_all_frames_once_and_decodes_from_the_last_steps_state() -> None:
    spec = job_spec(num_frames=40, refine=refine_spec(schedule="lockstep", num_inference_steps=2))
    pieces = [refine_piece(spec, index) for index in range(num_pieces(spec))]
    assert [len(piece.needs) for piece in pieces] == [40, 0, 0, 0, 0]
    assert [piece.state_of for piece in pieces] == [None, 0, 1, 1, 1]


@pytest.mark.parametrize(("num_made", "ready"), [(0, False), (1, False), (2, True)])
def test_a_window_is_ready_when_its_last_frame_is_made(num_made: int, ready: bool) -> None:
    assert is_ready(refined_job(64, num_made)) is ready


@pytest.mark.parametrize(("num_made", "ready"), [(2, False), (3, True)])
def test_lockstep_begins_when_the_whole_video_is_made(num_made: int, ready: bool) -> None:
    assert is_ready(refined_job(48, num_made, "lockstep")) is ready


def test_nothing_is_ready_once_all_is_refined_or_where_nothing_shall_be() -> None:
    job = refined_job(16, 1)
    assert is_ready(job)
    assert not is_ready(job.model_copy(update={"refined": job.chunks, "refine_done": 1}))
    assert not is_ready(job.model_copy(update={"spec": job.spec.model_copy(update={"refine": None})}))
