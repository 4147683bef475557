"""Several jobs on one worker are made one after the other, oldest first; the same request gives the same bytes."""

from __future__ import annotations

from itertools import groupby

from tests.helpers.service import Service


def hashes(service: Service, job_id: str) -> list[str]:
    return [chunk.sha256 for chunk in service.wait_for_success(job_id).chunks]


def test_what_has_begun_is_finished_before_the_next_job_begins(service: Service) -> None:
    jobs = [service.submit(model="slow", num_frames=64, prompt=prompt) for prompt in ("a red square", "a blue square")]
    ended = [service.wait_for_success(job.id) for job in jobs]
    order = sorted((chunk.created_at, job.id) for job in ended for chunk in job.chunks)
    turns = [job_id for job_id, _ in groupby(job_id for _, job_id in order)]
    assert turns == [job.id for job in jobs]


def test_jobs_are_started_first_come_first_served(service: Service) -> None:
    blocker = service.submit(model="slow", num_frames=64)
    waiting = [service.submit(model="slow", num_frames=16) for _ in range(3)]
    started = [service.wait_for_success(job.id).started_at for job in (blocker, *waiting)]
    assert started == sorted(started, key=lambda at: at.isoformat() if at else "")


def test_same_seed_gives_the_same_bytes_and_another_does_not(service: Service) -> None:
    first, again, other = (service.submit(num_frames=40, seed=seed) for seed in (5, 5, 6))
    assert hashes(service, first.id) == hashes(service, again.id)
    assert set(hashes(service, first.id)).isdisjoint(hashes(service, other.id))


def test_a_job_without_a_seed_says_which_it_took(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=16, seed=None).id)
    same = service.submit(num_frames=16, seed=job.request.seed)
    assert hashes(service, same.id) == [chunk.sha256 for chunk in job.chunks]
