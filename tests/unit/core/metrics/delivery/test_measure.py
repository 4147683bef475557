"""What is measured of a job, from its event log."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest

from core.metrics.delivery.log import TRIMMED
from core.metrics.delivery.measure import JobDelivery, VariantDelivery, measure_job
from core.metrics.delivery.several import measure_several
from core.metrics.delivery.spread import Spread
from core.metrics.delivery.viewer import Stall
from core.service.domain.schema import BranchSource, JobEvent, JobStatus
from tests.helpers.jobs import refine_spec
from tests.helpers.shown_jobs import SPEC, START
from tests.helpers.shown_jobs import chunk as shown_chunk
from tests.unit.core.metrics.delivery.logs import chunk, ended, entry, job, queued, started

WHOLE = [queued(), started(1.0), chunk(0, 5.0), chunk(1, 6.5), chunk(2, 11.0), ended(12.0)]
"""The viewer has seen two chunks at 9 s, and waits for 2 s."""


def preview_of(delivery: JobDelivery, generation: int = 0) -> VariantDelivery:
    made = delivery.generations[generation].preview
    assert made is not None
    return made


def test_everything_of_a_whole_job() -> None:
    delivery = measure_job(job(), WHOLE)
    (generation,) = delivery.generations
    assert (delivery.job_id, delivery.status, delivery.fps, delivery.notes) == ("job_x", "succeeded", 8, [])
    assert (generation.number, generation.outcome, generation.queue_seconds, generation.whole_video_seconds) == (
        0,
        "succeeded",
        1.0,
        12.0,
    )
    assert generation.refined is None
    made = preview_of(delivery)
    assert (made.num_chunks, made.num_frames, made.video_seconds) == (3, 48, 6.0)
    assert (made.first_chunk_seconds, made.first_chunk_after_start_seconds) == (5.0, 4.0)
    assert (made.gap_seconds, made.gaps) == ([1.5, 4.5], Spread(2, 1.5, 4.5, 4.5, 4.5))
    assert made.realtime_factor == pytest.approx(4.0 / 6.0)
    assert (made.num_deadlines, made.deadlines_met, made.deadlines_met_share) == (2, 1, 0.5)
    assert made.viewing.stalls == [Stall(9.0, 2.0, 4.0)]
    assert made.smallest_buffer_seconds == 2.0
    assert made.pace == pytest.approx(6.0 / 11.0)


def test_a_start_up_buffer_counts_for_deadlines_and_stalls_and_nothing_else() -> None:
    without, with_buffer = preview_of(measure_job(job(), WHOLE)), preview_of(measure_job(job(), WHOLE, (), 2.0))
    assert (with_buffer.viewing.stalls, with_buffer.deadlines_met_share) == ([], 1.0)
    assert with_buffer.viewing.begins_at == 7.0
    for name in ("first_chunk_seconds", "gaps", "realtime_factor", "smallest_buffer_seconds"):
        assert getattr(with_buffer, name) == getattr(without, name)


def test_a_chunk_plays_for_its_frames_at_the_job_s_rate() -> None:
    ntsc = job(request=SPEC.model_copy(update={"fps": Fraction(24000, 1001)}))
    made = preview_of(measure_job(ntsc, [queued(), started(0.0), chunk(0, 1.0), chunk(1, 2.0, 7)]))
    assert made.video_seconds == pytest.approx(23 * 1001 / 24000)
    assert made.viewing.stalls[0].seconds == pytest.approx(1.0 - 16 * 1001 / 24000)


def test_refined_chunks_are_measured_for_themselves() -> None:
    late = [chunk(index, 11.0 + 3.0 * index, refined=True) for index in range(3)]
    (generation,) = measure_job(job(), [*WHOLE[:-1], *late, ended(20.0)]).generations
    assert generation.preview is not None
    assert generation.refined is not None
    assert generation.refined.first_chunk_seconds == 11.0
    assert generation.refined.viewing.stalled_seconds == 2.0
    assert [*generation.variants()] == ["preview", "refined"]
    assert generation.preview == preview_of(measure_job(job(), WHOLE))


def test_when_it_all_was_does_not_matter() -> None:
    later = [event.model_copy(update={"at": event.at + timedelta(days=400)}) for event in WHOLE]
    assert measure_job(job(), later) == measure_job(job(), WHOLE)


def test_changes_of_the_prompt_change_nothing() -> None:
    steered = [*WHOLE[:4], entry("job.prompt_changed", 7.0, from_frame=32, prompt="x"), *WHOLE[4:]]
    assert measure_job(job(), steered) == measure_job(job(), WHOLE)


def test_each_generation_is_measured_from_its_own_start() -> None:
    again = [queued(100.0, 1), started(101.0), chunk(3, 103.0), chunk(4, 104.0), ended(110.0)]
    first, second = measure_job(job(generation=1), [*WHOLE, *again]).generations
    assert first == measure_job(job(), WHOLE).generations[0]
    assert (second.number, second.queue_seconds, second.whole_video_seconds) == (1, 1.0, 10.0)
    assert second.preview is not None
    assert (second.preview.num_chunks, second.preview.first_chunk_seconds) == (2, 3.0)
    assert second.preview.viewing.stalls == []


def test_a_short_chunk_that_is_only_completed_is_no_new_one() -> None:
    first = [queued(), started(1.0), chunk(0, 2.0), chunk(1, 3.0, 8), ended(4.0)]
    extended = [queued(50.0, 1), started(51.0), chunk(1, 52.0), chunk(2, 55.0), ended(56.0)]
    before, after = measure_job(job(generation=1), [*first, *extended]).generations
    assert before.preview is not None
    assert after.preview is not None
    assert (before.preview.num_frames, after.preview.num_frames) == (24, 16)
    assert (after.preview.num_chunks, after.preview.first_chunk_seconds) == (1, 5.0)
    (_, only_completed) = measure_job(job(generation=1), [*first, *extended[:3], ended(53.0)]).generations
    assert only_completed.preview is None


@pytest.mark.parametrize("outcome", ["failed", "canceled"])
def test_a_job_that_did_not_succeed_says_so_and_has_no_whole_video(outcome: str) -> None:
    delivery = measure_job(job(JobStatus(outcome), 2), [*WHOLE[:4], ended(9.0, outcome)])
    (generation,) = delivery.generations
    assert (generation.outcome, generation.whole_video_seconds) == (outcome, None)
    assert preview_of(delivery).num_chunks == 2
    said = {"failed": "the job has failed", "canceled": "the job was canceled"}[outcome]
    assert delivery.notes == [f"{said}: of the frames that were not made nothing is counted"]


@pytest.mark.parametrize(("length", "chunks"), [(1, 0), (2, 0), (3, 1), (5, 3)])
def test_a_job_that_goes_on_is_measured_so_far(length: int, chunks: int) -> None:
    delivery = measure_job(job(JobStatus.RUNNING, chunks), WHOLE[:length])
    (generation,) = delivery.generations
    assert (generation.outcome, generation.whole_video_seconds) == (None, None)
    assert (generation.preview.num_chunks if generation.preview else 0) == chunks
    assert "so far" in delivery.notes[0]


def test_a_single_chunk_has_no_cadence() -> None:
    made = preview_of(measure_job(job(num_chunks=1), [*WHOLE[:3], ended(6.0)]))
    assert (made.gaps, made.realtime_factor, made.deadlines_met_share) == (None, None, None)
    assert (made.viewing.stalls, made.smallest_buffer_seconds) == ([], 0.0)


def test_a_log_without_its_beginning_is_replaced_by_the_times_of_the_chunks() -> None:
    """The chunks of `shown_chunk` are there at 5, 9 and 13 s."""
    chunks = [shown_chunk(index) for index in range(3)]
    done = job(finished_at=START + timedelta(seconds=20))
    delivery = measure_job(done, [chunk(2, 13.1), ended(20.0)], chunks)
    (generation,) = delivery.generations
    made = preview_of(delivery)
    assert (made.first_chunk_seconds, made.gap_seconds, generation.whole_video_seconds) == (5.0, [4.0, 4.0], 20.0)
    assert made.first_chunk_after_start_seconds == 4.0
    assert TRIMMED in delivery.notes[0]
    assert measure_job(done, [], chunks) == delivery


def test_copies_of_a_branch_are_not_its_delivery() -> None:
    branch = job(branched_from=BranchSource(job_id="job_y", from_chunk=2))
    assert preview_of(measure_job(branch, [], [shown_chunk(index) for index in range(3)])).num_chunks == 1
    assert "copies" in measure_job(branch, [queued(), started(1.0), chunk(2, 2.0), ended(3.0)]).notes[0]


def test_of_a_trimmed_log_only_generations_that_begin_in_it_are_measured() -> None:
    again = [queued(100.0, 1), started(101.0), chunk(2, 102.0), chunk(3, 103.0), ended(110.0)]
    delivery = measure_job(job(generation=1), [*WHOLE[4:], *again], [shown_chunk(0)])
    assert [one.number for one in delivery.generations] == [1]
    assert preview_of(delivery).num_chunks == 1  # chunk 2 was there in the generation before
    assert f"{TRIMMED}: of its generations only those from generation 1 on are measured" in delivery.notes
    nothing = measure_job(job(generation=1), again[2:], [shown_chunk(0)])
    assert (nothing.generations, nothing.notes) == ([], [f"{TRIMMED}: of its generations none is measured"])


def test_no_time_is_negative_although_clocks_differ() -> None:
    skewed: list[JobEvent] = [queued(3.0), started(1.0), chunk(0, 2.0), chunk(1, 1.5), ended(4.0)]
    delivery = measure_job(job(), skewed)
    made = preview_of(delivery)
    assert (delivery.generations[0].queue_seconds, made.first_chunk_seconds, made.gap_seconds) == (0.0, 0.0, [0.0])
    assert (made.realtime_factor, made.pace) == (None, None)


def test_several_jobs_together() -> None:
    quick = [queued(), started(0.0), chunk(0, 1.0), chunk(1, 2.0), chunk(2, 3.0), ended(4.0)]
    waiting = measure_job(job(JobStatus.QUEUED, 0), [queued()])
    both = measure_several([measure_job(job(), WHOLE), measure_job(job(), quick), waiting])
    assert (both.num_generations, both.without_stall) == (2, 1)
    assert (both.without_chunk, both.so_far) == (1, 0)
    assert (both.num_deadlines, both.deadlines_met, both.deadlines_met_share) == (4, 3, 0.75)
    assert both.first_chunk_seconds == Spread(2, 1.0, 5.0, 5.0, 5.0)
    assert both.gap_seconds == Spread(4, 1.0, 4.5, 4.5, 4.5)
    assert both.stalled_seconds == Spread(2, 0.0, 2.0, 2.0, 2.0)
    paces = (6.0 / 11.0, 6.0 / 3.0)
    assert both.fairness == pytest.approx(sum(paces) ** 2 / (2 * sum(pace**2 for pace in paces)))


def test_of_no_chunk_there_is_no_figure() -> None:
    nothing = measure_several([measure_job(job(JobStatus.QUEUED, 0), [queued()])])
    assert (nothing.num_generations, nothing.first_chunk_seconds, nothing.fairness) == (0, None, None)
    assert nothing.without_chunk == 1
    unasked = measure_several([measure_job(job(), WHOLE)], "refined")
    assert (unasked.num_generations, unasked.without_chunk) == (0, 0)


def test_a_generation_that_needed_no_new_chunk_lacks_none() -> None:
    """The job was extended within its last chunk, which is made anew under its index."""
    extended = measure_job(job(), [*WHOLE, queued(20.0, generation=1), started(21.0), chunk(2, 22.0), ended(23.0)])
    assert measure_several([extended]).without_chunk == 0
    failed = measure_job(job(), [*WHOLE, queued(20.0, generation=1), started(21.0), ended(23.0, "failed")])
    assert measure_several([failed]).without_chunk == 1


def test_generations_without_a_refined_chunk_are_counted_where_it_was_asked_for() -> None:
    asked = job(request=SPEC.model_copy(update={"refine": refine_spec()}))
    late = [chunk(index, 11.0 + 3.0 * index, refined=True) for index in range(3)]
    deliveries = [measure_job(asked, [*WHOLE[:-1], *late, ended(20.0)]), measure_job(asked, WHOLE[:-1])]
    several = measure_several(deliveries, "refined")
    assert (several.num_generations, several.without_chunk) == (1, 1)
    assert measure_several(deliveries).so_far == 1
