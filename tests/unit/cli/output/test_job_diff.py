"""Lines printed while a job runs."""

from __future__ import annotations

from functools import partial

import pytest

from cli.output.job_diff import changed_lines, fraction_done, progress_line
from core.service.domain.schema import Job, JobStatus, JobWarning
from tests.helpers.shown_jobs import MakeJob, shown_chunks


def lines_of(before: Job | None, job: Job) -> list[str]:
    return changed_lines(before, job, partial(shown_chunks, job))


def test_each_chunk_is_printed_once_with_its_url(make_job: MakeJob) -> None:
    lines = lines_of(make_job(num_chunks=1), make_job(num_chunks=3))
    assert [line.split()[:2] for line in lines] == [["chunk", "1"], ["chunk", "2"]]
    assert lines[0].endswith("00001.mp4?signature=abc")
    assert "4.0 s playable" in lines[0]


def test_a_change_of_status_is_yielded_after_the_chunks(make_job: MakeJob) -> None:
    lines = lines_of(make_job(num_chunks=2), make_job(JobStatus.FINALIZING, 3))
    assert lines[-1].startswith("job       finalizing")


def test_nothing_new_says_nothing(make_job: MakeJob) -> None:
    assert lines_of(make_job(step=1, steps=9), make_job(step=2, steps=9)) == []


def test_progress_shows_step_chunks_playable_seconds_and_eta(make_job: MakeJob) -> None:
    line = progress_line(make_job(num_chunks=1, step=3, steps=20).progress)
    assert line == "step 3/20  chunks 1/3  2.0 s playable  ETA 8 s"


def test_between_the_steps_it_says_why_there_is_none(make_job: MakeJob) -> None:
    assert progress_line(make_job(num_chunks=1).progress).startswith("between two chunks")
    assert progress_line(make_job(num_chunks=3).progress).startswith("all chunks are made")


def test_a_job_without_an_end_shows_no_totals(make_job: MakeJob) -> None:
    endless = {"frames_total": None, "chunks_total": None, "eta_seconds": None, "chunks_refined": 1}
    progress = make_job(num_chunks=3, step=3, steps=20).progress.model_copy(update=endless)
    assert progress_line(progress) == "step 3/20  chunks 3  refined 1  6.0 s playable  without end"
    assert fraction_done(progress) == 0


def test_a_waiting_job_shows_its_queue_position(make_job: MakeJob) -> None:
    progress = make_job(JobStatus.QUEUED).progress.model_copy(update={"queue_position": 2})
    assert progress_line(progress).startswith("place 2 in the queue  chunks")
    starts = progress.model_copy(update={"starts_in_seconds": 41.6})
    assert progress_line(starts).startswith("place 2 in the queue, starts in 42 s  chunks")


@pytest.mark.parametrize(("chunks", "step", "expected"), [(0, 0, 0.0), (0, 10, 1 / 6), (2, 10, 5 / 6), (3, 0, 1.0)])
def test_the_bar_moves_with_every_step(make_job: MakeJob, chunks: int, step: int, expected: float) -> None:
    assert fraction_done(make_job(num_chunks=chunks, step=step, steps=20).progress) == pytest.approx(expected)


def test_each_refined_chunk_is_printed_once_with_its_url(make_job: MakeJob) -> None:
    lines = lines_of(make_job(num_chunks=2, num_refined=1), make_job(num_chunks=3, num_refined=2))
    assert [line.split()[:2] for line in lines] == [["chunk", "2"], ["refined", "1"]]
    assert lines[1].endswith("refined/00001.mp4")


def test_progress_shows_both_lanes(make_job: MakeJob) -> None:
    progress = make_job(num_chunks=3, num_refined=1).progress.model_copy(update={"refine_step": 5, "refine_steps": 10})
    assert "chunks 3/3  refined 1/3, step 5/10" in progress_line(progress)
    assert fraction_done(progress) == pytest.approx(4.5 / 6)


def test_a_job_that_is_prepared_says_so_and_then_its_length(make_job: MakeJob) -> None:
    job = make_job(JobStatus.QUEUED)
    unknown = {"preparing": True, "chunks_total": None, "frames_total": None, "eta_seconds": None}
    waiting = job.model_copy(
        update={
            "progress": job.progress.model_copy(update=unknown),
            "request": job.request.model_copy(update={"num_frames": None, "endless_limit": 800}),
        }
    )
    assert lines_of(None, waiting)[-1].startswith("job       preparing")
    assert progress_line(waiting.progress) == "preparing  chunks 0  0.0 s playable  length unknown yet"
    assert lines_of(waiting, waiting) == []
    assert lines_of(waiting, job) == [f"length    {job.request.num_frames} frames"]


def test_each_warning_is_printed_once_with_its_field(make_job: MakeJob) -> None:
    warnings = (
        JobWarning(code="unknown_words", message="what is a cat?", field="prompt"),
        JobWarning(code="hdr", message="tone-mapped"),
    )
    before, after = (make_job().model_copy(update={"warnings": warnings[:count]}) for count in (1, 2))
    assert lines_of(None, before)[0] == "warning   prompt: what is a cat?"
    assert lines_of(before, after) == ["warning   tone-mapped"]
