"""The simulated viewer: known answers of schedules made by hand, and laws for all others."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.metrics.delivery.viewer import LEAST_SECONDS, Stall, deadlines_met, lateness, smallest_buffer, watch

TWO = [2.0] * 5
"""Five chunks that play for 2 s each."""

Schedule = tuple[list[float], list[float]]


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """When chunks are there, and how long each plays: whole milliseconds."""
    milliseconds = st.integers(0, 20_000)
    gaps = draw(st.lists(milliseconds, min_size=1, max_size=30))
    plays = draw(st.lists(st.integers(1, 5000), min_size=len(gaps), max_size=len(gaps)))
    return [at / 1000 for at in accumulate(gaps)], [seconds / 1000 for seconds in plays]


def test_chunks_that_come_faster_than_they_play_never_stall() -> None:
    there_at = [1.0, 2.5, 4.0, 5.5, 7.0]
    viewing = watch(there_at, TWO)
    assert (viewing.begins_at, viewing.ends_at, viewing.stalls) == (1.0, 11.0, [])
    late = lateness(there_at, TWO)
    assert late == [-0.5, -1.0, -1.5, -2.0]
    assert (deadlines_met(late), smallest_buffer(late)) == (4, 0.0)


def test_chunks_that_come_as_fast_as_they_play_are_in_time() -> None:
    viewing = watch([3.0, 5.0, 7.0, 9.0, 11.0], TWO)
    assert (viewing.stalls, deadlines_met(lateness([3.0, 5.0, 7.0, 9.0, 11.0], TWO))) == ([], 4)


def test_slower_chunks_stall_each_time_by_what_they_are_slower() -> None:
    there_at = [1.0, 4.0, 7.0, 10.0, 13.0]
    viewing = watch(there_at, TWO)
    assert viewing.stalls == [Stall(3.0, 1.0, 2.0), Stall(6.0, 1.0, 4.0), Stall(9.0, 1.0, 6.0), Stall(12.0, 1.0, 8.0)]
    assert (viewing.stalled_seconds, viewing.longest_seconds, viewing.ends_at) == (4.0, 1.0, 15.0)
    late = lateness(there_at, TWO)
    assert late == [1.0, 2.0, 3.0, 4.0]
    assert (deadlines_met(late), smallest_buffer(late)) == (0, 4.0)


def test_a_buffer_moves_the_waiting_before_the_first_frame() -> None:
    there_at = [1.0, 4.0, 7.0, 10.0, 13.0]
    viewing = watch(there_at, TWO, 2.5)
    assert (viewing.begins_at, viewing.ends_at) == (3.5, 15.0)
    assert viewing.stalls == [Stall(9.5, 0.5, 6.0), Stall(12.0, 1.0, 8.0)]
    assert deadlines_met(lateness(there_at, TWO), 2.5) == 2
    assert watch(there_at, TWO, 4.0).stalls == []


def test_a_late_first_chunk_is_no_stall() -> None:
    viewing = watch([60.0, 61.0, 62.0, 63.0, 64.0], TWO)
    assert (viewing.begins_at, viewing.stalls) == (60.0, [])


def test_a_gap_in_the_middle_is_one_stall_and_what_was_ahead_shortens_it() -> None:
    there_at = [1.0, 2.0, 12.0, 13.0, 14.0]
    viewing = watch(there_at, TWO)
    assert viewing.stalls == [Stall(5.0, 7.0, 4.0)]  # seen until 5.0, the third chunk is there at 12.0
    late = lateness(there_at, TWO)
    assert late == [-1.0, 7.0, 6.0, 5.0]
    assert deadlines_met(late) == 1  # the stall makes the viewer late, who then waits no more; the deadlines stay


def test_chunks_of_other_lengths_play_as_long_as_they_are() -> None:
    assert watch([0.0, 1.5, 3.5], [2.0, 1.0, 0.5]).stalls == [Stall(3.0, 0.5, 3.0)]


def test_a_single_chunk_has_no_deadline_and_no_stall() -> None:
    viewing = watch([4.0], [2.0], 1.0)
    assert (viewing.begins_at, viewing.ends_at, viewing.stalls, viewing.longest_seconds) == (5.0, 7.0, [], 0.0)
    assert lateness([4.0], [2.0]) == []
    assert smallest_buffer([]) == 0.0


@given(schedules(), st.floats(0, 100))
def test_the_stalls_are_what_the_buffer_lacks(schedule: Schedule, buffer_seconds: float) -> None:
    """So a larger buffer never has more stalled seconds."""
    viewing = watch(*schedule, buffer_seconds)
    lacking = max(0.0, smallest_buffer(lateness(*schedule)) - buffer_seconds)
    assert math.isclose(viewing.stalled_seconds, lacking, abs_tol=1e-4)


@given(schedules(), st.floats(0, 100), st.floats(0, 100))
def test_a_larger_buffer_never_has_more_stalls_nor_misses_more(schedule: Schedule, one: float, more: float) -> None:
    smaller, larger = watch(*schedule, one), watch(*schedule, one + more)
    assert larger.stalled_seconds <= smaller.stalled_seconds + 1e-6
    late = lateness(*schedule)
    assert deadlines_met(late, one + more) >= deadlines_met(late, one)


@given(schedules())
def test_the_smallest_buffer_has_no_stall_and_a_smaller_one_has(schedule: Schedule) -> None:
    late = lateness(*schedule)
    smallest = smallest_buffer(late)
    assert watch(*schedule, smallest).stalls == []
    assert deadlines_met(late, smallest) == len(late)
    if smallest > 0:
        assert watch(*schedule, smallest - 10 * LEAST_SECONDS).stalls != []


@given(schedules(), st.integers(-1000, 1000), st.floats(0, 10))
def test_when_it_all_was_does_not_matter(schedule: Schedule, shift: int, buffer_seconds: float) -> None:
    there_at, seconds = schedule
    here = watch(there_at, seconds, buffer_seconds)
    there = watch([at + shift for at in there_at], seconds, buffer_seconds)
    assert there.stalled_seconds == pytest.approx(here.stalled_seconds, abs=1e-4)
    assert there.ends_at - shift == pytest.approx(here.ends_at, abs=1e-6)


@given(schedules(), st.floats(0, 10))
def test_a_viewing_lasts_as_long_as_video_and_stalls(schedule: Schedule, buffer_seconds: float) -> None:
    there_at, seconds = schedule
    viewing = watch(there_at, seconds, buffer_seconds)
    assert viewing.begins_at == there_at[0] + buffer_seconds
    assert viewing.ends_at - viewing.begins_at == pytest.approx(sum(seconds) + viewing.stalled_seconds, abs=1e-4)
    assert viewing.ends_at >= there_at[-1]
