"""The arithmetic of the benchmarks, on a job whose times are known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.figures import Figure, Report
from benchmarks.jobs import EndedJob, frames_per_second, overhead_figure, overhead_percent
from core.service.domain.schema import Chunk, Job, JobStatus, Links, Progress
from tests.helpers.jobs import job_spec

START = datetime(2026, 1, 1, tzinfo=UTC)


def chunk(index: int, at_seconds: float, timings: dict[str, float]) -> Chunk:
    return Chunk(
        index=index,
        first_frame=16 * index,
        num_frames=16,
        url="http://s3/chunk",
        size_bytes=1,
        sha256="0",
        created_at=START + timedelta(seconds=at_seconds),
        timings=timings,
    )


@pytest.fixture
def job() -> EndedJob:
    """Two chunks: the first 3 s after the start, the second 5 s later, of which 4.8 s were the engine's."""
    spec = job_spec(
        prompt="p",
        negative_prompt="",
        num_frames=32,
        fps=8,
        seed=0,
        model="sprites",
        guidance_scale=1,
        num_inference_steps=1,
    )
    timings = {"queue": 0.05, "denoise": 4.5, "decode": 0.3, "encode": 0.1, "upload": 0.04, "commit": 0.01}
    job = Job(
        id="job_a",
        status=JobStatus.SUCCEEDED,
        version=2,
        request=spec,
        progress=Progress(
            frames_done=32,
            frames_total=32,
            chunks_done=2,
            chunks_total=2,
            step=0,
            steps=0,
            seconds_playable=4,
            seconds_per_chunk=5,
            realtime_factor=0.4,
            eta_seconds=None,
            queue_position=None,
        ),
        links=Links(self="", chunks="", events="", playlist="", video="", thumbnail="", cancel=""),
        error=None,
        created_at=START,
        started_at=START,
        first_chunk_at=None,
        finished_at=None,
        expires_at=None,
    )
    return EndedJob(job, [chunk(0, 3, {}), chunk(1, 8, timings)])


def test_pace_counts_all_frames_from_the_start_to_the_last_commit(job: EndedJob) -> None:
    assert frames_per_second(job) == 4.0


def test_overhead_is_what_the_engine_did_not_take(job: EndedJob) -> None:
    assert overhead_percent(job) == pytest.approx(4.0)
    figure = overhead_figure(job)
    assert (figure.value, figure.samples, figure.unit) == (4.0, [4.0], "%")


@pytest.mark.parametrize(("value", "better", "met"), [(2, "lower", True), (3, "lower", False), (3, "higher", True)])
def test_target_is_met_on_the_right_side(value: float, better: str, met: bool) -> None:
    assert Figure("f", value, "s", target=2, better="lower" if better == "lower" else "higher").met is met


def test_figure_without_a_target_is_not_judged() -> None:
    assert Figure("f", 1, "s").met is None


def test_report_keeps_machine_commit_and_verdicts(tmp_path: Path) -> None:
    Report("2026-01-01", "abc", {"cores": 2}, [Figure("f", 1, "s", target=2)]).write(tmp_path / "new" / "r.json")
    content = json.loads((tmp_path / "new" / "r.json").read_text())
    assert (content["commit"], content["machine"], content["figures"][0]["met"]) == ("abc", {"cores": 2}, True)
