"""Figures of a finished job."""

from __future__ import annotations

import pytest

from cli.output.summary import Summary, summarize
from core.service.domain.schema import Job, JobStatus
from tests.helpers.shown_jobs import MakeJob, shown_chunks


def summarize_job(job: Job) -> Summary:
    return summarize(job, shown_chunks(job))


def test_figures_come_from_the_job_s_own_times(make_job: MakeJob) -> None:
    summary = summarize_job(make_job(JobStatus.SUCCEEDED, 3))
    assert summary.first_chunk_seconds == 5.0
    assert summary.seconds_per_chunk == 4.0
    assert summary.frames_per_second == 4.0


def test_the_phases_add_up_to_the_wall_time(make_job: MakeJob) -> None:
    summary = summarize_job(make_job(JobStatus.SUCCEEDED, 3))
    assert sum(summary.phases.values()) == pytest.approx(summary.wall_seconds)


def test_a_phase_that_only_a_worker_knows_is_shown(make_job: MakeJob) -> None:
    job = make_job(JobStatus.SUCCEEDED, 1)
    chunk = shown_chunks(job)[0].model_copy(update={"timings": {"denoise": 1.0, "commit": 0.5}})
    phases = summarize(job, [chunk]).phases
    assert list(phases) == ["denoise", "decode", "encode", "upload", "queue", "commit", "other"]


def test_the_engine_s_part_of_the_first_chunk_is_told_apart(make_job: MakeJob) -> None:
    job = make_job(JobStatus.SUCCEEDED, 2)
    times = {"queue": 0.25, "load": 0.25, "denoise": 2.0, "decode": 0.5, "encode": 1.0, "upload": 1.0}
    first, second = shown_chunks(job)
    summary = summarize(job, [first.model_copy(update={"timings": times}), second])
    assert summary.first_chunk_engine_seconds == 2.5


def test_a_job_without_chunks_has_no_figures(make_job: MakeJob) -> None:
    summary = summarize_job(make_job(JobStatus.FAILED))
    assert (summary.first_chunk_seconds, summary.frames_per_second, summary.wall_seconds) == (None, None, None)
