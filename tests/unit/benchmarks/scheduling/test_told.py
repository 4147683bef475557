"""How true it is what simulated jobs are told."""

from __future__ import annotations

import pytest

from benchmarks.scheduling import scenarios
from benchmarks.scheduling.policies import Ours
from benchmarks.scheduling.scenarios import SLOW_SPEED, Burst, Key, Stream
from benchmarks.scheduling.simulator import simulate
from benchmarks.scheduling.told import error, told, waited
from core.service.domain.scheduling import Policy


def test_errors_are_of_the_larger_one_and_short_waits_are_none() -> None:
    assert error(20, 10, 1) == 0.5
    assert error(5, 10, 1) == -0.5
    assert error(0.0, 0.1, 1) == pytest.approx(-0.1)


def test_with_a_free_worker_a_job_is_told_that_it_starts_at_once() -> None:
    stream = Stream(SLOW_SPEED, 32, 0.5, 120)
    policy = Ours(Policy(), {})
    jobs = simulate(stream.jobs(1), stream.workers, policy).jobs
    assert all(waited(job) == 0 for job in jobs)
    assert set(policy.starts_in.values()) == {0.0}


def test_one_after_the_other_on_one_worker_is_told_truly() -> None:
    burst = Burst("", (Key("a", 8, 6),), speed=SLOW_SPEED)
    policy = Ours(Policy(), {})
    jobs = simulate(burst.jobs(1), 1, policy).jobs
    questions = [(job.created_at + waited(job) / 2, job.id) for job in jobs[1:]]
    policy = Ours(Policy(), {}, questions)
    simulate(burst.jobs(1), 1, policy)
    last = jobs[-1]
    assert policy.starts_in_later[last.id] == pytest.approx(waited(last) / 2, rel=0.3)


@pytest.mark.parametrize("keys", [1, 3])
def test_what_is_told_leans_neither_way_by_much(keys: int) -> None:
    figures = told(Stream(SLOW_SPEED, 4, 1.0, 200, keys=keys), seeds=(1,))
    at_submission = [figure for figure in figures if "at submission" in figure.name]
    medians = [float(figure.note.rpartition("median ")[2].removesuffix(" %")) for figure in at_submission]
    assert len(medians) == 2
    assert all(abs(median) <= 30 for median in medians)


def test_those_that_start_at_once_and_are_told_so_do_not_hide_those_that_wait() -> None:
    stream = Stream(SLOW_SPEED, 8, 0.7, 200)
    policy = Ours(Policy(), {})
    jobs, least = simulate(stream.jobs(1), stream.workers, policy).jobs, stream.times.first_mean
    late = [job for job in jobs if max(policy.starts_in.get(job.id, 0.0), waited(job)) > least]
    assert len(jobs) / 2 > len(late) > 0
    (starts,) = (figure for figure in told(stream, seeds=(1,)) if "starts_in_seconds at submission" in figure.name)
    assert starts.note.startswith(f"{len(late)} jobs")
    assert starts.value


def test_streams_have_one_key_and_several() -> None:
    assert {stream.keys for stream in scenarios.told(quick=False)} == {1, 3, 20}
