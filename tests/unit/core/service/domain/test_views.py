"""What clients see of a job: progress, pace, time left, links."""

from datetime import timedelta
from typing import Any

import pytest

from core.service.domain.ports import LiveStatus
from core.service.domain.schema import ChunkRecord, Job, JobRecord, JobStatus, Lane, RefineSchedule, StepProgress
from core.service.domain.schema.older import totals_of
from core.service.domain.views import (
    Pace,
    PublicUrls,
    chunk_views,
    eta_seconds,
    job_json,
    job_summary,
    links_of,
    pace_of,
    progress_of,
)
from core.service.testing.clock import FAKE_START
from tests.helpers.jobs import job_spec, refine_spec

URLS = PublicUrls("https://api", "https://api")
SPEC = job_spec(
    prompt="a red circle",
    negative_prompt="",
    num_frames=52,
    fps=8,
    seed=7,
    model="fake",
    guidance_scale=7.5,
    num_inference_steps=4,
)


def chunk(index: int, after_seconds: float, num_frames: int = 16) -> ChunkRecord:
    return ChunkRecord(
        index=index,
        first_frame=16 * index,
        num_frames=num_frames,
        key=f"jobs/j/chunks/{index}.mp4",
        head_bytes=700,
        size_bytes=3000,
        sha256="00",
        created_at=FAKE_START + timedelta(seconds=after_seconds),
        timings={"denoise": 1.5},
    )


def record(*chunks: ChunkRecord, **changes: Any) -> JobRecord:
    """A running job of four chunks (52 frames), started at FAKE_START."""
    running: dict[str, Any] = {"status": JobStatus.RUNNING, "started_at": FAKE_START, "version": len(chunks)}
    return JobRecord(id="j", spec=SPEC, chunks=totals_of(chunks), created_at=FAKE_START, **{**running, **changes})


def step(chunk_index: int, number: int, after_seconds: float = 0.0) -> StepProgress:
    at = FAKE_START + timedelta(seconds=after_seconds)
    return StepProgress(chunk_index=chunk_index, step=number, steps=8, at=at)


def pace_of_made(job: JobRecord) -> Pace | None:
    return pace_of(job.chunks, job)


def test_nothing_is_known_before_the_start() -> None:
    queued = record(status=JobStatus.QUEUED, started_at=None)
    progress = progress_of(queued, LiveStatus(queue_position=3))
    assert (progress.frames_done, progress.frames_total, progress.chunks_done, progress.chunks_total) == (0, 52, 0, 4)
    assert (progress.step, progress.steps, progress.queue_position) == (0, 0, 3)
    assert (progress.seconds_per_chunk, progress.realtime_factor, progress.eta_seconds) == (None, None, None)


@pytest.mark.parametrize(
    ("wait", "work", "starts", "eta"), [(30.0, 12.0, 30.0, 42.0), (30.0, None, 30.0, None), (None, 12.0, None, None)]
)
def test_a_queued_job_is_ready_after_its_wait_and_its_own_work(
    wait: float | None, work: float | None, starts: float | None, eta: float | None
) -> None:
    progress = progress_of(record(status=JobStatus.QUEUED, started_at=None), LiveStatus(wait_seconds=wait), work)
    assert (progress.starts_in_seconds, progress.eta_seconds) == (starts, eta)


def test_a_running_job_starts_no_more() -> None:
    """What the store read about the queue may be older than the record."""
    assert progress_of(record(chunk(0, 4)), LiveStatus(wait_seconds=30.0), 12.0).starts_in_seconds is None


def test_one_chunk_sets_the_pace_from_the_start() -> None:
    pace = pace_of_made(record(chunk(0, 4)))
    assert pace is not None
    assert (pace.seconds_per_chunk, pace.realtime_factor) == (4.0, 0.5)


def test_the_first_chunk_does_not_count_once_there_are_others() -> None:
    pace = pace_of_made(record(chunk(0, 60), chunk(1, 61), chunk(2, 62)))
    assert pace is not None
    assert (pace.seconds_per_chunk, pace.realtime_factor) == (1.0, 2.0)


def test_a_short_last_chunk_counts_for_the_seconds_that_it_plays() -> None:
    pace = pace_of_made(record(chunk(0, 1), chunk(1, 2, num_frames=8)))
    assert pace is not None
    assert pace.realtime_factor == 1.0


def test_the_time_left_shrinks_with_every_step_of_the_current_chunk() -> None:
    job = record(chunk(0, 2), chunk(1, 4))
    assert eta_seconds(job, None, None) == 4.0
    assert progress_of(job, LiveStatus({Lane.GENERATE: step(2, 6)})).eta_seconds == 2.5


def test_the_time_left_of_the_first_chunk_comes_from_its_steps() -> None:
    assert eta_seconds(record(), step(0, 4, after_seconds=3), None) == pytest.approx(21.0)
    assert eta_seconds(record(), step(0, 0), None) is None


def test_progress_of_another_chunk_is_ignored() -> None:
    progress = progress_of(record(chunk(0, 2)), LiveStatus({Lane.GENERATE: step(0, 7)}))
    assert (progress.step, progress.steps) == (0, 0)


def test_progress_counts_only_while_running() -> None:
    progress = progress_of(record(chunk(0, 2), status=JobStatus.CANCELING), LiveStatus({Lane.GENERATE: step(1, 7)}))
    assert (progress.step, progress.steps, progress.eta_seconds) == (0, 0, None)


def test_nothing_is_left_to_make_while_finalizing_and_nothing_is_promised_after() -> None:
    chunks = (chunk(0, 2), chunk(1, 4))
    assert eta_seconds(record(*chunks, status=JobStatus.FINALIZING), None, None) == 0.0
    assert eta_seconds(record(*chunks, status=JobStatus.SUCCEEDED), None, None) is None


def test_commits_at_one_instant_have_no_pace() -> None:
    assert pace_of_made(record(chunk(0, 0))) is None


def test_a_job_shows_its_chunks_with_urls_but_not_where_they_lie() -> None:
    job = record(chunk(0, 2))
    (seen,) = chunk_views(job, [chunk(0, 2)], URLS)
    assert seen.url == f"https://api/jobs/{job.id}/chunks/0.mp4"
    assert "key" not in seen.model_dump()
    assert progress_of(job, LiveStatus()).seconds_playable == 2.0


def test_a_job_in_json_is_its_summary_and_its_chunks() -> None:
    for chunks in ((), (chunk(0, 2), chunk(1, 4))):
        job = record(*chunks)
        summary = job_summary(job, progress_of(job, LiveStatus()), URLS)
        views = chunk_views(job, chunks, URLS)
        whole = Job(**summary.model_dump(), chunks=views).model_dump_json()
        assert job_json(summary.model_dump_json(), views) == whole


def test_links_are_absolute() -> None:
    links = links_of(record(), URLS).model_dump()
    assert links["self"] == "https://api/jobs/j"
    assert links["playlist"] == "https://api/jobs/j/playlist.m3u8"
    assert all(link.startswith("https://api/jobs/j") for link in links.values())


def test_links_to_media_lead_to_the_cdn_and_all_others_to_the_api() -> None:
    urls = PublicUrls("https://api", "https://cdn/x")
    links = links_of(record(), urls).model_dump()
    of_media = {name: link for name, link in links.items() if not link.startswith("https://api/jobs/j")}
    assert of_media == {"video": "https://cdn/x/jobs/j/video.mp4", "thumbnail": "https://cdn/x/jobs/j/thumbnail.jpg"}
    (seen,) = chunk_views(refined_record(num_refined=1), [chunk(0, 1)], urls)
    assert seen.url == "https://cdn/x/jobs/j/chunks/0.mp4"
    assert seen.refined_url == "https://cdn/x/jobs/j/chunks/0.mp4?variant=refined"


def test_a_chunk_keeps_its_timings() -> None:
    assert chunk_views(record(chunk(0, 1)), [chunk(0, 1)], URLS)[0].timings == {"denoise": 1.5}


def refined_record(schedule: RefineSchedule = "streaming", num_refined: int = 0) -> JobRecord:
    """All four chunks made, one per second; `num_refined` of them refined, one every two seconds."""
    chunks = tuple(chunk(index, index + 1) for index in range(4))
    spec = SPEC.model_copy(update={"refine": refine_spec(schedule=schedule)})
    refined = tuple(chunk(index, 4 + 2 * index) for index in range(num_refined))
    return record(*chunks, refined=totals_of(refined)).model_copy(update={"spec": spec})


def test_the_time_left_is_that_of_the_slower_lane() -> None:
    assert eta_seconds(refined_record(num_refined=2), None, None) == 4.0
    assert eta_seconds(refined_record(), None, None) is None


def test_the_time_left_in_lockstep_comes_from_the_steps_of_the_whole_video() -> None:
    assert eta_seconds(refined_record("lockstep"), None, step(0, 2, after_seconds=5)) == pytest.approx(3.0)
    assert eta_seconds(refined_record("lockstep"), None, step(0, 0, after_seconds=5)) is None


def test_in_lockstep_the_first_refined_chunk_alone_promises_nothing() -> None:
    assert eta_seconds(refined_record("lockstep", num_refined=1), None, None) is None
    assert eta_seconds(refined_record("lockstep", num_refined=2), None, None) == 4.0


def test_refined_chunks_carry_both_urls() -> None:
    chunks = [chunk(index, index + 1) for index in range(4)]
    views = chunk_views(refined_record(num_refined=1), chunks, URLS)
    assert [bool(view.refined_url) for view in views] == [True, False, False, False]
    assert progress_of(refined_record(num_refined=1), LiveStatus()).chunks_refined == 1
    assert progress_of(record(), LiveStatus()).chunks_refined is None
