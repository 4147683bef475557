"""The contract of `claim_next`: who is next by class, share, viewers and age, for the real store and the fake.

A module that wants it run has a fixture `queue` and a class `Test...(ScheduleContract)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from core.service.domain.capacity import PoolDemand, desired_workers
from core.service.domain.ports import JobStore, Lease
from core.service.domain.priority import Priority
from core.service.domain.refine_plan import num_pieces
from core.service.domain.schema import JobRecord, Lane, StepProgress
from core.service.domain.transitions import entry_of
from core.service.testing.clock import FakeClock
from tests.helpers.jobs import chunk_of, queued_job, refine_spec

MODEL = "sprites"
LANES = (Lane.GENERATE, Lane.REFINE)
TTL = 3600.0
LONG_JOB = {"num_frames": 160}
"""20 s of video, in chunks of 2 s."""


@dataclass
class Queue:
    """A store, and the clock that it goes by."""

    store: JobStore
    clock: FakeClock

    def submit(self, number: int, *, owner: str | None = None, share: float = 1.0, **spec: Any) -> JobRecord:
        changes = {"owner": owner, "share": share, "created_at": self.clock.now()}
        return self.store.create(queued_job(number, **{**LONG_JOB, **spec}).model_copy(update=changes))

    def next(self, own: frozenset[tuple[str, Lane]] = frozenset()) -> Lease:
        lease = self.store.claim_next(LANES, MODEL, "w1", TTL, own)
        assert lease
        return lease

    def make(self, lease: Lease, seconds: float = 1.0) -> JobRecord:
        """The next chunk, which takes so long."""
        self.clock.advance(seconds)
        return self.store.commit_chunk(lease, self.chunk(lease), "f1")

    def chunk(self, lease: Lease) -> Any:
        job = self.store.get(lease.job_id)
        return chunk_of(job, job.chunks.count).model_copy(update={"created_at": self.clock.now()})

    def report_step(self, lease: Lease, step: int, steps: int) -> None:
        """A denoising step of the next chunk."""
        index = self.store.get(lease.job_id).chunks.count
        progress = StepProgress(chunk_index=index, step=step, steps=steps, at=self.clock.now())
        self.store.report_progress(lease.job_id, progress)

    def begin(self, number: int, chunks: int = 1, seconds: float = 0.0, **values: Any) -> JobRecord:
        """A job with chunks, each made in `seconds`."""
        job = self.submit(number, **values)
        for _ in range(chunks):
            lease = self.store.claim(job.id, Lane.GENERATE, "w1", TTL)
            assert lease
            job = self.make(lease, seconds)
        return job

    def demand(self, pool: str = MODEL) -> PoolDemand | None:
        return next((each for each in self.store.pool_demands() if each.pool == pool), None)


def numbers(leases: list[Lease]) -> list[int]:
    return [int(lease.job_id.removeprefix("job_")) for lease in leases]


class ScheduleContract:
    """What every store's choice obeys."""

    def test_higher_classes_go_first(self, queue: Queue) -> None:
        for number, priority in ((1, Priority.LOW), (2, Priority.NORMAL), (3, Priority.HIGH)):
            queue.submit(number, priority=priority)
        assert numbers([queue.next() for _ in range(3)]) == [3, 2, 1]

    def test_one_that_has_waited_too_long_gets_every_fourth_pick(self, queue: Queue) -> None:
        queue.submit(99, priority=Priority.LOW)
        queue.submit(98, priority=Priority.LOW)
        queue.clock.advance(301)
        for number in range(8):
            queue.submit(number)
        assert numbers([queue.next() for _ in range(8)]) == [0, 1, 2, 98, 3, 4, 5, 99]

    def test_owners_share_by_weight(self, queue: Queue) -> None:
        for number in range(60):
            owner, share = ("key_a", 1.0) if number % 2 else ("key_b", 2.0)
            queue.submit(number, owner=owner, share=share, num_frames=16)
        made = list[Lease]()
        for _ in range(30):
            made.append(queue.next())
            queue.make(made[-1])
        assert abs(sum(number % 2 == 0 for number in numbers(made)) - 20) <= 1

    def test_an_owner_that_comes_later_neither_pays_nor_saved_up(self, queue: Queue) -> None:
        for number in range(20):
            queue.submit(number, owner="key_a", num_frames=16)
        for _ in range(10):
            queue.make(queue.next(), 10.0)
        for number in range(20, 40):
            queue.submit(number, owner="key_b", num_frames=16)
        made = list[Lease]()
        for _ in range(10):
            made.append(queue.next())
            queue.make(made[-1], 10.0)
        assert 4 <= sum(number >= 20 for number in numbers(made)) <= 6

    def test_a_job_whose_viewers_stall_soon_goes_on(self, queue: Queue) -> None:
        queue.begin(1, chunks=2)
        queue.submit(2)
        assert numbers([queue.next()]) == [1], "4 s ahead: urgent"

    def test_begun_well_ahead_comes_after_new(self, queue: Queue) -> None:
        """Chunks take ten times as long as they play: there is no room for another viewer."""
        queue.begin(1, chunks=19, num_frames=800)
        queue.begin(3, chunks=21, num_frames=800)
        queue.submit(4, num_frames=16, priority=Priority.HIGH)
        queue.make(queue.next(), 20.0)
        queue.submit(2)
        assert numbers([queue.next() for _ in range(3)]) == [1, 2, 3], "18 s ahead, new, 22 s ahead"

    def test_a_new_one_begins_before_where_workers_have_room_for_more_viewers(self, queue: Queue) -> None:
        """Three viewers need 0.45 of a worker."""
        for number in (1, 2):
            queue.begin(number, chunks=5, seconds=0.3)
        queue.submit(3)
        assert numbers([queue.next()]) == [3], "the others are more than 5.3 s ahead"

    def test_a_dear_piece_lately_lets_no_new_one_begin_before(self, queue: Queue) -> None:
        """Another job's chunk took 6 s: while a worker makes such a one, viewers who are 5 s ahead stall."""
        queue.begin(9, seconds=6.0, num_frames=16)
        queue.begin(1, chunks=9)
        queue.submit(3)
        assert numbers([queue.next()]) == [1], "18 s ahead, and the mean pace is 0.4"

    @pytest.mark.parametrize(("chunks", "chosen"), [(6, 1), (8, 3)])
    def test_room_leaves_viewers_ahead_of_the_longest_piece(self, queue: Queue, chunks: int, chosen: int) -> None:
        """A refinement piece took 8 s, so 11 s ahead are too few and 14.6 s enough. Chunks take a tenth of playback."""
        refined = queue.begin(9, chunks=3, seconds=0.2, num_frames=64, refine=refine_spec())
        lease = queue.store.claim(refined.id, Lane.REFINE, "w1", TTL)
        assert lease
        queue.clock.advance(8.0)
        queue.store.commit_refined(lease, 1, (), "r1")
        queue.store.request_cancel(refined.id)
        queue.begin(1, chunks=chunks, seconds=0.2)
        queue.submit(3)
        assert numbers([queue.next()]) == [chosen]

    def test_pieces_given_back_or_lost_tell_nothing_about_how_long_they_take(self, queue: Queue) -> None:
        queue.submit(1)
        queue.make(queue.next(), 4.0)
        for seconds in (0.1, 600.0):
            lease = queue.next()
            queue.clock.advance(seconds)
            queue.store.release(lease, count_attempt=False)
        assert queue.demand() == PoolDemand(MODEL, 0, 1, 9 * 4.0, active_workers=0, viewers_need=1.0)

    def test_streams_and_viewers_need_workers_that_keep_pace(self, queue: Queue) -> None:
        for number in (1, 2):
            queue.begin(number, seconds=1.0, num_frames=None, endless_limit=320)
        queue.begin(3, seconds=1.0, num_frames=64)
        demand = queue.demand()
        assert demand
        assert (demand.streams_need, demand.viewers_need) == (1.0, 0.5)
        assert desired_workers(demand, 120.0) == 2

    def test_after_a_night_with_fewer_workers_nobody_is_told_that_all_start_at_once(self, queue: Queue) -> None:
        day = [queue.submit(number, num_frames=16) for number in range(16)]
        leases = [queue.next() for _ in day]
        assert queue.store.claim_next(LANES, MODEL, "w1", TTL) is None, "a 17th worker"
        for lease in leases:
            queue.make(lease, 0.0)
        queue.submit(99, num_frames=16)
        queue.make(queue.next(), 5.0)
        waiting = [queue.submit(number) for number in range(20, 25)]
        queue.next()
        told = [live.wait_seconds for live in queue.store.live_statuses(waiting[1:])]
        assert all(told), told

    def test_without_room_the_same_goes_on(self, queue: Queue) -> None:
        for number in (1, 2):
            queue.begin(number, chunks=5, seconds=0.4)
        queue.submit(3)
        assert numbers([queue.next()]) == [1], "three viewers need 0.6 of a worker"

    def test_the_one_nearest_to_a_stall_is_urgent(self, queue: Queue) -> None:
        queue.begin(1, chunks=5)
        queue.begin(2, chunks=2)
        queue.begin(3, chunks=1)
        assert numbers([queue.next() for _ in range(3)]) == [3, 2, 1]

    def test_among_owners_served_alike_a_worker_prefers_its_own(self, queue: Queue) -> None:
        queue.begin(1, chunks=4, owner="key_a")
        own = queue.begin(2, chunks=4, owner="key_b")
        assert numbers([queue.next(frozenset({(own.id, Lane.GENERATE)}))]) == [2]
        assert numbers([queue.next()]) == [1]

    def test_of_one_owner_the_oldest_is_finished_first(self, queue: Queue) -> None:
        queue.begin(1, chunks=4)
        own = queue.begin(2, chunks=4)
        assert numbers([queue.next(frozenset({(own.id, Lane.GENERATE)}))]) == [1]

    def test_a_job_that_is_gone_is_not_next_and_leaves_nothing_in_the_queue(self, queue: Queue) -> None:
        """Its client has cancelled it while its worker was about to go on."""
        gone = queue.begin(1, num_frames=32)
        entry = entry_of(gone, Lane.GENERATE)
        assert entry
        queue.store.request_cancel(gone.id)
        queue.submit(2)
        assert not queue.store.is_next(entry, LANES, MODEL)
        assert numbers([queue.next()]) == [2]
        assert queue.store.claim_next(LANES, MODEL, "w1", TTL) is None

    def test_whether_a_held_job_would_be_next_changes_nothing(self, queue: Queue) -> None:
        held = queue.submit(1)
        queue.next()
        queue.submit(2, priority=Priority.LOW)
        entry = entry_of(queue.store.get(held.id), Lane.GENERATE)
        assert entry
        assert queue.store.is_next(entry, LANES, MODEL)
        queue.submit(3, priority=Priority.HIGH)
        assert not queue.store.is_next(entry, LANES, MODEL)
        assert numbers([queue.next(), queue.next()]) == [3, 2]

    def test_a_resting_job_is_left_out_and_a_released_one_returns(self, queue: Queue) -> None:
        queue.submit(1)
        queue.submit(2)
        first, second = queue.next(), queue.next()
        queue.store.release(first, count_attempt=True, rest_seconds=600)
        assert queue.store.claim_next(LANES, MODEL, "w1", TTL) is None
        queue.store.release(second, count_attempt=False)
        assert numbers([queue.next()]) == [2]

    def test_a_kept_lane_is_charged_and_others_have_their_turn(self, queue: Queue) -> None:
        queue.submit(1, owner="key_a")
        lease = queue.next()
        queue.submit(2, owner="key_b")
        queue.clock.advance(100)
        queue.store.commit_and_claim(lease, queue.chunk(lease), "f1", TTL)
        queue.submit(3, owner="key_a", num_frames=16)
        assert numbers([queue.next(), queue.next()]) == [2, 3]

    def test_places_follow_class_and_turns(self, queue: Queue) -> None:
        for number in range(1, 4):
            queue.submit(number, owner="key_a")
        queue.submit(4, owner="key_b")
        queue.submit(5, owner="key_c", priority=Priority.HIGH)
        jobs = [queue.store.get(queued_job(number).id) for number in range(1, 6)]
        places = [live.queue_position for live in queue.store.live_statuses(jobs)]
        assert places == [2, 4, 5, 3, 1]
        assert numbers([queue.next() for _ in range(2)]) == [5, 1]

    def test_a_pool_tells_its_open_work_and_who_does_it(self, queue: Queue) -> None:
        assert queue.store.pool_demands() == []
        queue.submit(1)
        queue.submit(2, num_frames=32)
        assert queue.demand() == PoolDemand(MODEL, 2, 0, queue_seconds=None, active_workers=0)
        first = queue.next()
        assert queue.demand() == PoolDemand(MODEL, 1, 1, queue_seconds=None, active_workers=1)
        queue.make(first, 4.0)
        assert queue.demand() == PoolDemand(MODEL, 1, 1, 11 * 4.0, active_workers=0, viewers_need=1.0)

    def test_work_without_an_end_is_one_piece_that_takes_turns(self, queue: Queue) -> None:
        queue.submit(1, num_frames=None, endless_limit=320)
        queue.make(queue.next(), 4.0)
        assert queue.demand() == PoolDemand(MODEL, 1, 0, 4.0, active_workers=0, streams_need=1.0)

    def test_refinement_adds_to_the_pool_of_its_model(self, queue: Queue) -> None:
        job = queue.submit(1, num_frames=64, refine=refine_spec())
        for _ in range(3):
            lease = queue.store.claim(job.id, Lane.GENERATE, "w1", TTL)
            assert lease
            queue.make(lease, 4.0)
        assert queue.demand() == PoolDemand(MODEL, 0, 2, 4.0, 0, viewers_need=1.0), "refinement is not timed"
        lease = queue.store.claim(job.id, Lane.REFINE, "w2", TTL)
        assert lease
        queue.clock.advance(10)
        assert queue.demand() == PoolDemand(MODEL, 0, 2, 4.0, active_workers=1, viewers_need=1.0)
        queue.store.commit_refined(lease, 1, (), "r1")
        seconds = 4.0 + (num_pieces(job.spec) - 1) * 10.0
        assert queue.demand() == PoolDemand(MODEL, 0, 2, seconds, active_workers=0, viewers_need=1.0)

    def test_work_that_is_done_or_given_up_is_open_no_more(self, queue: Queue) -> None:
        queue.submit(1, num_frames=16)
        queue.submit(2, refine=refine_spec())
        queue.make(queue.next(), 4.0)
        queue.store.request_cancel(queued_job(2).id)
        assert queue.demand() == PoolDemand(MODEL, 0, 0, queue_seconds=0.0, active_workers=0)
        assert queue.demand("finalize") == PoolDemand("finalize", 0, 1, queue_seconds=None, active_workers=0)

    def test_free_work_is_of_the_lanes_whose_jobs_can_be_claimed(self, queue: Queue) -> None:
        assert queue.store.free_work(LANES, MODEL) == {}
        waiting = queue.submit(1, refine=refine_spec())
        assert queue.store.free_work(LANES, MODEL) == {Lane.GENERATE: waiting.id}
        for _ in range(3):
            queue.make(queue.next())
        assert queue.store.free_work(LANES, MODEL) == dict.fromkeys(LANES, waiting.id)
        held = [queue.next() for _ in LANES]
        assert queue.store.free_work(LANES, MODEL) == {}
        queue.store.release(held[0], count_attempt=False)
        assert queue.store.free_work(LANES, MODEL) == {held[0].lane: waiting.id}
        assert queue.store.free_work([held[1].lane], MODEL) == {}
        assert queue.store.free_work(LANES, "another") == {}
