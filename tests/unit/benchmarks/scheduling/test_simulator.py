"""Laws of the simulator, on small scenarios, and the arithmetic of what is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

import pytest

from benchmarks.scheduling import scenarios
from benchmarks.scheduling.measures import fairness, stalls
from benchmarks.scheduling.mixed import mixed
from benchmarks.scheduling.page import PAGE, RESULTS, page
from benchmarks.scheduling.picture import PICTURE, svg
from benchmarks.scheduling.policies import Ours, Scheduler
from benchmarks.scheduling.scenarios import MIXED_SPEED, Burst, Key, Stream
from benchmarks.scheduling.simulation import (
    first_end,
    longest_wait,
    measure,
    policies,
    said_and_real,
    served_until,
    six_at_once,
)
from benchmarks.scheduling.simulator import Outcome, simulate
from benchmarks.scheduling.workload import SimulatedJob
from core.metrics.delivery.spread import jain, percentile
from core.service.domain.priority import Priority
from core.service.domain.scheduling import Policy

STREAM = Stream(3.0, 3, 0.9, 60, keys=3, classes=tuple(Priority))
EACH_POLICY = pytest.mark.parametrize("policy", policies().values(), ids=policies().keys())


def history(outcome: Outcome) -> list[tuple[int, str, float, float]]:
    return [(piece.worker, piece.job.id, piece.started_at, piece.ended_at) for piece in outcome.pieces]


@EACH_POLICY
def test_every_chunk_is_made_once_and_in_order_and_no_worker_makes_two_at_a_time(
    policy: Callable[[], Scheduler],
) -> None:
    outcome = simulate(STREAM.jobs(1), STREAM.workers, policy())
    assert all(job.has_ended for job in outcome.jobs)
    assert len(outcome.pieces) == sum(len(job.seconds) for job in outcome.jobs)
    for job in outcome.jobs:
        own = sorted((p.started_at, p.ended_at) for p in outcome.pieces if p.job is job)
        assert own[0][0] >= job.created_at
        assert [end for _, end in own] == job.committed_at
        assert [end - start for start, end in own] == pytest.approx(job.seconds)
        assert all(before[1] <= after[0] for before, after in pairwise(own))
    for worker in range(STREAM.workers):
        own = sorted((p.started_at, p.ended_at) for p in outcome.pieces if p.worker == worker)
        assert all(before[1] <= after[0] for before, after in pairwise(own))


@EACH_POLICY
def test_no_worker_rests_while_a_job_waits(policy: Callable[[], Scheduler]) -> None:
    outcome = simulate(STREAM.jobs(2), STREAM.workers, policy())
    starts = {piece.started_at for piece in outcome.pieces}
    for at in starts:
        busy = {p.job.id for p in outcome.pieces if p.started_at <= at < p.ended_at}
        unfinished = {job.id for job in outcome.jobs if job.created_at <= at < job.committed_at[-1]}
        assert len(busy) == min(STREAM.workers, len(unfinished))


@EACH_POLICY
def test_the_same_seed_gives_the_same_history_and_another_seed_another(policy: Callable[[], Scheduler]) -> None:
    first, again, other = (simulate(STREAM.jobs(seed), STREAM.workers, policy()) for seed in (1, 1, 2))
    assert history(first) == history(again) != history(other)


def test_nothing_ends_after_the_end() -> None:
    outcome = simulate(STREAM.jobs(1), STREAM.workers, Ours(Policy(), {}), until=20.0)
    assert 0 < max(piece.ended_at for piece in outcome.pieces) <= 20.0
    assert not all(job.has_ended for job in outcome.jobs)


def test_jain_is_1_for_equals_and_1_of_n_if_one_has_all() -> None:
    assert jain([3, 3, 3]) == 1.0
    assert jain([5, 0, 0, 0]) == 0.25
    assert jain([1, 2]) == pytest.approx(0.9)
    assert jain([0, 0]) == 1.0
    assert fairness({"a": 1, "b": 4}, {"b": 4.0}) == 1.0


def test_percentile_is_a_value_that_occurs() -> None:
    assert [percentile([4, 1, 3, 2], percent) for percent in (1, 25, 50, 95, 100)] == [1, 1, 2, 4, 4]


def test_a_viewer_waits_for_late_chunks_and_goes_on_later_for_it() -> None:
    """Chunks of 2 s: the second comes 1 s late, and so the third, 3 s after it, comes 1 s late again."""
    assert stalls([10, 13, 16]) == (2, 2.0)
    assert stalls([10, 12, 14]) == (0, 0.0)
    assert stalls([10, 11, 12, 16]) == (0, 0.0)
    assert stalls([10]) == (0, 0.0)


def test_served_seconds_count_to_the_moment() -> None:
    job = SimulatedJob("j", "a", Priority.NORMAL, 0.0, (2.0, 3.0))
    outcome = simulate([job, SimulatedJob("k", "b", Priority.NORMAL, 9.0, (1.0,))], 1, Ours(Policy(), {}))
    assert served_until(outcome, 4.0) == {"a": 4.0, "b": 0.0}
    assert first_end(outcome) == 5.0


def test_the_longest_wait_includes_the_time_after_the_last_chunk_of_an_unfinished_job() -> None:
    job = SimulatedJob("j", "a", Priority.LOW, 1.0, (1.0, 1.0), committed_at=[4.0])
    assert longest_wait(job, until=9.0) == 5.0
    job.committed_at.append(5.0)
    assert longest_wait(job, until=9.0) == 3.0


def test_the_real_place_counts_starts_since_the_job_came() -> None:
    times = [(0.0, 1.0), (2.0, 5.0), (2.0, 3.0), (2.5, 4.0)]
    made = [
        SimulatedJob(f"j{n}", "a", Priority.NORMAL, came, (1.0,), started_at=at) for n, (came, at) in enumerate(times)
    ]
    found = said_and_real(made, {"j0": 1, "j1": 1, "j2": 2, "j3": 3})
    assert found == [(1, 1), (2, 1), (3, 2), (1, 3)]


def test_jobs_of_one_class_and_one_key_start_at_the_place_that_they_were_told() -> None:
    burst = Burst("", (Key("a", 8, 2),), speed=0.5)
    policy = Ours(Policy(), {})
    outcome = simulate(burst.jobs(1), 1, policy)
    assert [real - said for said, real in said_and_real(outcome.jobs, policy.said)] == [0] * 8


@pytest.mark.parametrize("stream", scenarios.mixed(quick=False)[:4], ids=lambda stream: stream.name)
def test_where_chunks_cost_differently_viewers_stall_no_more_than_without_room(stream: Stream) -> None:
    assert [figure.met for figure in mixed(stream, seeds=(1,)) if figure.target is not None] == [True]


def test_a_tenth_of_mixed_jobs_is_dear_and_the_load_is_that_of_all() -> None:
    stream = Stream(MIXED_SPEED, 8, 0.8, 2000, dear_speed=0.333)
    jobs = stream.jobs(1)
    assert sum(job.is_dear for job in jobs) / len(jobs) == pytest.approx(0.1, abs=0.02)
    load = sum(sum(job.seconds) for job in jobs) / jobs[-1].created_at / stream.workers
    assert load == pytest.approx(0.8, rel=0.1)


def test_six_jobs_end_sooner_than_in_turns() -> None:
    ours = next(figure for figure in six_at_once() if figure.name.endswith("ours"))
    assert ours.met


def test_recorded_seconds_are_scaled_to_the_speed() -> None:
    assert scenarios.Stream(1.2, 1, 0.5, 1).times.speed == pytest.approx(1.2)


def test_a_quick_run_has_figures_of_every_scenario() -> None:
    said = list[str]()
    names = [figure.name for figure in measure(said.append, quick=True)]
    assert len(names) == len({*names}) > 20
    assert [one for one in said if not one] == []


def test_the_picture_is_what_the_code_draws() -> None:
    assert PICTURE.read_text() == svg(), "run: python -m benchmarks.scheduling.picture"


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    text = PAGE.read_text()
    assert text == page(text, json.loads(RESULTS.read_text())), "run: python -m benchmarks.scheduling.page"
