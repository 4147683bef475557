"""Estimates from measured speeds, and which chunks are measured."""

from __future__ import annotations

from typing import Any

import pytest

from core.service.admission.estimate import estimate_of, measured, seconds_left
from core.service.domain.ports import SpeedOf
from core.service.domain.schema import Estimate, FirstChunkSampling, Lane
from tests.helpers.jobs import chunk_of, job_spec, queued_job, refine_spec, with_chunks

SPEEDS: dict[SpeedOf, float] = {"first": 1.0, "next": 0.5, "refined": 0.25}


def test_steps_and_chunks_multiply() -> None:
    spec = job_spec(
        num_frames=40,
        num_inference_steps=10,
        first_chunk=FirstChunkSampling(num_inference_steps=4, guidance_scale=1),
    )
    assert estimate_of(spec, SPEEDS) == Estimate(seconds_per_chunk=5.0, seconds_total=4.0 + 2 * 5.0)


def test_refinement_is_more_work() -> None:
    spec = job_spec(num_frames=32, num_inference_steps=10, refine=refine_spec(num_inference_steps=4))
    assert estimate_of(spec, SPEEDS) == Estimate(seconds_per_chunk=6.0, seconds_total=4.0 + 5.0 + 2 * 1.0)


def test_the_end_of_an_input_video_costs_nothing() -> None:
    spec = job_spec(num_frames=32, num_inference_steps=10, video="upl_x")
    assert estimate_of(spec, {"next": 0.5}) == Estimate(seconds_per_chunk=5.0, seconds_total=5.0)


def test_a_video_made_along_another_is_made_from_its_first_frame_on() -> None:
    spec = job_spec(num_frames=32, num_inference_steps=10, first_chunk=None, video="upl_x")
    estimate = estimate_of(spec, SPEEDS, along_input=True)
    assert estimate == Estimate(seconds_per_chunk=5.0, seconds_total=10.0 + 5.0)


def test_a_video_of_another_size_says_nothing_and_nothing_is_said_about_it() -> None:
    job = queued_job(height=32, width=128)
    assert estimate_of(job.spec, SPEEDS) is None
    assert measured(job.spec, chunk_of(job, 0), Lane.GENERATE) is None


def test_of_a_job_that_goes_on_only_what_is_left_counts() -> None:
    job = queued_job(num_frames=48, num_inference_steps=10, refine=refine_spec(num_inference_steps=4))
    of_first, of_next, of_refined = 4.0, 5.0, 1.0
    assert seconds_left(job, SPEEDS) == of_first + 2 * of_next + 3 * of_refined
    assert seconds_left(with_chunks(job, 2, 1), SPEEDS) == of_next + 2 * of_refined
    assert seconds_left(with_chunks(job, 3, 3), SPEEDS) == 0.0


@pytest.mark.parametrize("changes", [{"num_frames": None, "endless_limit": 160}, {"height": 32, "width": 128}])
def test_what_is_left_of_a_job_without_an_end_or_of_another_size_is_not_known(changes: dict[str, Any]) -> None:
    assert seconds_left(queued_job(**changes), SPEEDS) is None


def test_an_engine_without_steps_counts_chunks() -> None:
    spec = job_spec(num_frames=48, num_inference_steps=None, first_chunk=None)
    assert estimate_of(spec, SPEEDS) == Estimate(seconds_per_chunk=0.5, seconds_total=2.0)


def test_a_video_of_one_chunk_needs_no_other_measurement() -> None:
    assert estimate_of(job_spec(num_frames=16), {"first": 1.0}) == Estimate(seconds_per_chunk=4.0, seconds_total=4.0)


@pytest.mark.parametrize("missing", ["first", "next", "refined"])
def test_nothing_is_guessed(missing: SpeedOf) -> None:
    speeds: dict[SpeedOf, float] = {kind: speed for kind, speed in SPEEDS.items() if kind != missing}
    assert estimate_of(job_spec(refine=refine_spec()), speeds) is None


def test_what_a_chunk_says_about_others() -> None:
    job = queued_job(num_frames=40, num_inference_steps=4)
    timings = {"queue": 100.0, "denoise": 1.5, "encode": 0.5}
    first, second, short = (chunk_of(job, index).model_copy(update={"timings": timings}) for index in range(3))
    assert measured(job.spec, first, Lane.GENERATE) == ("first", 0.5)
    assert measured(job.spec, second, Lane.GENERATE) == ("next", 0.5)
    assert measured(job.spec, second, Lane.GENERATE, stored_meanwhile=True) == ("next", 0.375)
    assert measured(job.spec, short, Lane.GENERATE) is None
    assert measured(job_spec(video="upl_x"), first, Lane.GENERATE) is None
    assert measured(job_spec(video="upl_x"), first, Lane.GENERATE, along_input=True) == ("first", 0.5)
    refined = job_spec(refine=refine_spec(num_inference_steps=2))
    assert measured(refined, first, Lane.REFINE) == ("refined", 1.0)
    lockstep = job_spec(refine=refine_spec(schedule="lockstep"))
    assert measured(lockstep, first, Lane.REFINE) is None
