"""One process that generates and refines: it asks once for the best piece, whatever message woke it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from core.service.domain.ports import Lease
from core.service.domain.scheduling import Key
from core.service.domain.schema import Lane
from core.service.redis import queue
from core.service.testing.engines import FakeEngine
from core.service.testing.job_store import FakeJobStore
from tests.helpers.fake_world import JOB, MODEL, World
from tests.helpers.jobs import refine_spec
from worker.lanes.generate import ChunkMaker
from worker.lanes.lane import LaneWorkers, Outcome

BOTH = (Lane.GENERATE, Lane.REFINE)
Own = frozenset[tuple[str, Lane]]


def make(world: World, job_id: str, lane: Lane, pieces: int) -> None:
    """By other workers."""
    for _ in range(pieces):
        lease = world.store.claim(job_id, lane, "worker-2", 30)
        assert lease is not None
        worker = world.maker() if lane is Lane.GENERATE else world.refiner()
        assert worker.do(lease) is Outcome.COMMITTED


def both(world: World) -> LaneWorkers:
    services = world.services()
    maker = ChunkMaker(services, FakeEngine(), MODEL, lanes=BOTH)
    return LaneWorkers([maker, world.refiner(services=services)], services, MODEL)


def made(world: World, job_id: str = JOB) -> tuple[int, int]:
    """Chunks, and refined ones."""
    return len(world.chunks(job_id)), len(world.refined(job_id))


def test_a_job_is_made_and_refined_by_one_process(world: World) -> None:
    world.submit(num_frames=40, refine=refine_spec())
    process = both(world)
    while process.work() is Outcome.COMMITTED:
        pass
    assert made(world) == (3, 3)
    assert process.work() is Outcome.DROPPED, "a doubled message changes nothing"


def test_refinement_that_viewers_wait_for_comes_before_a_new_job(world: World) -> None:
    """Also when another refined job is older, or generation of the same job is not done."""
    world.submit("job_old", num_frames=64, refine=refine_spec(), fps=1)
    world.clock.advance(1)
    world.submit(num_frames=80, refine=refine_spec())
    for job, chunks in (("job_old", 2), (JOB, 3)):
        make(world, job, Lane.GENERATE, chunks)
        make(world, job, Lane.REFINE, 1)
    world.submit("job_new", num_frames=32)
    world.clock.advance(1)
    both(world).work()
    assert (made(world, "job_old"), made(world), made(world, "job_new")) == ((2, 1), (3, 2), (0, 0))


def test_a_worker_that_claims_a_piece_of_one_lane_wakes_others_for_each_lane_with_work(world: World) -> None:
    world.submit(num_frames=64, refine=refine_spec())
    maker = world.maker()
    maker.work()
    maker.work()
    world.submit("job_b", num_frames=32)
    world.queue.messages.clear()
    process = both(world)
    process.work()
    assert set(world.tasks()) == {queue.TASK_GENERATE_CHUNK, queue.TASK_REFINE_WINDOW}


def test_a_process_that_drains_passes_on_what_it_was_woken_for(world: World) -> None:
    world.submit(num_frames=64, refine=refine_spec())
    world.maker().work()
    world.maker().work()
    world.queue.messages.clear()
    services = world.services()
    services.drain.set()
    maker = ChunkMaker(services, FakeEngine(), MODEL, lanes=BOTH)
    process = LaneWorkers([maker, world.refiner(services=services)], services, MODEL)
    assert process.work() is Outcome.INTERRUPTED
    assert set(world.tasks()) == {queue.TASK_GENERATE_CHUNK, queue.TASK_REFINE_WINDOW}


def test_a_worker_names_the_jobs_whose_state_it_holds_at_the_profile_that_is_loaded(world: World) -> None:
    asked = list[Own]()

    class Noting(FakeJobStore):
        def claim_next(
            self, lanes: Sequence[Lane], model: str, worker: str, ttl_seconds: float, own: Collection[Key] = ()
        ) -> Lease | None:
            asked.append(frozenset(own))
            return super().claim_next(lanes, model, worker, ttl_seconds, own)

    world.store = Noting(world.clock)
    world.submit(num_frames=32, profile="reference")
    process = both(world)
    process.work()
    process.work()
    world.submit("job_b", num_frames=48, refine=refine_spec(), profile="fast")
    while process.work() is Outcome.COMMITTED:
        pass
    assert asked[:2] == [frozenset(), frozenset({(JOB, Lane.GENERATE)})]
    assert asked[-1] == frozenset({("job_b", Lane.GENERATE), ("job_b", Lane.REFINE)})
