"""The contract of ports.WorkReads, for the real store and the fake: what waits, what is being made, what was made.

A module that wants it run has a fixture `queue` (schedule_contract.Queue) and a class `Test...(WorkContract)`.
"""

from __future__ import annotations

from core.service.domain.ports import Made, WaitingJobs
from core.service.domain.priority import Priority
from core.service.domain.rates import KEPT_SECONDS
from core.service.domain.schema import JobStatus, Lane
from tests.helpers.schedule_contract import MODEL, TTL, Queue

GENERATE = (Lane.GENERATE, MODEL)


def waiting_of(queue: Queue, lane: Lane) -> WaitingJobs | None:
    return next((found for found in queue.store.waiting() if found.lane is lane and found.count), None)


class WorkContract:
    def test_jobs_that_wait_are_counted_by_class_with_the_longest_wait(self, queue: Queue) -> None:
        began = queue.clock.now()
        queue.submit(1, priority=Priority.LOW)
        queue.clock.advance(7)
        queue.submit(2)
        queue.submit(3)
        found = waiting_of(queue, Lane.GENERATE)
        assert found == WaitingJobs(
            Lane.GENERATE, MODEL, {Priority.HIGH: 0, Priority.NORMAL: 2, Priority.LOW: 1}, began
        )

    def test_a_claimed_job_does_not_wait_and_a_begun_one_waits_again(self, queue: Queue) -> None:
        queue.submit(1)
        lease = queue.next()
        assert waiting_of(queue, Lane.GENERATE) is None
        queue.make(lease)
        found = waiting_of(queue, Lane.GENERATE)
        assert found
        assert (found.count, found.since) == (1, queue.clock.now())

    def test_a_worker_makes_what_it_has_claimed_until_it_commits(self, queue: Queue) -> None:
        job = queue.submit(1)
        assert queue.store.in_work(["w1", "w2"]) == {}
        lease = queue.next()
        piece = queue.store.in_work(["w1", "w2"])["w1"]
        assert (piece.job_id, piece.lane, piece.chunk, piece.step, piece.steps) == (
            job.id,
            Lane.GENERATE,
            0,
            None,
            None,
        )
        assert 0 <= piece.seconds < 60
        queue.make(lease)
        assert queue.store.in_work(["w1"]) == {}

    def test_a_worker_that_keeps_a_job_makes_its_next_chunk_with_its_steps(self, queue: Queue) -> None:
        queue.submit(1)
        lease = queue.next()
        queue.store.commit_and_claim(lease, queue.chunk(lease), "f1", TTL)
        queue.report_step(lease, 3, 8)
        piece = queue.store.in_work(["w1"])["w1"]
        assert (piece.chunk, piece.step, piece.steps) == (1, 3, 8)

    def test_what_another_worker_has_taken_over_is_not_this_one_s(self, queue: Queue) -> None:
        job = queue.submit(1)
        lease = queue.next()
        queue.store.release(lease, count_attempt=False)
        assert queue.store.claim(job.id, Lane.GENERATE, "w2", TTL)
        assert list(queue.store.in_work(["w1", "w2"])) == ["w2"]

    def test_commits_of_the_last_minute_are_added_up_by_model_and_lane(self, queue: Queue) -> None:
        assert queue.store.made_lately().by_lane == {}
        queue.begin(1, chunks=3)
        lately = queue.store.made_lately()
        assert lately.by_lane == {GENERATE: Made(chunks=3, frames=48, video_seconds=6.0)}
        assert 60 <= lately.seconds <= 70
        queue.clock.advance(30)
        queue.begin(2)
        assert queue.store.made_lately().by_lane[GENERATE].chunks == 4
        queue.clock.advance(KEPT_SECONDS)
        assert queue.store.made_lately().by_lane == {}

    def test_a_commit_that_is_repeated_counts_once(self, queue: Queue) -> None:
        queue.submit(1)
        lease = queue.next()
        chunk = queue.chunk(lease)
        for _ in range(2):
            queue.store.commit_and_claim(lease, chunk, "f1", TTL)
        assert queue.store.made_lately().by_lane[GENERATE].chunks == 1

    def test_jobs_are_counted_by_status(self, queue: Queue) -> None:
        queue.submit(1)
        queue.begin(2)
        totals = queue.store.totals()
        assert {status: count for status, count in totals.jobs.items() if count} == {
            JobStatus.QUEUED: 1,
            JobStatus.RUNNING: 1,
        }
        assert totals.pending_webhooks == 0
