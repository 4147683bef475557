"""Whose chunk is next: when a worker that makes chunks ahead keeps a job, and when it gives it up."""

from __future__ import annotations

from core.service.domain.schema import JobStatus, Lane
from core.service.testing.engines import FakeEngine
from tests.helpers.background import AtOnce, Late
from tests.helpers.fake_world import JOB, KEEP_SECONDS, MODEL, World
from tests.helpers.generating import NotingEngine
from tests.helpers.jobs import refine_spec
from worker.lanes.generate import ChunkMaker
from worker.lanes.lane import Outcome


def test_a_job_keeps_the_worker_only_until_its_time_is_over(world: World) -> None:
    world.submit(num_frames=48)
    maker = ChunkMaker(world.services(), FakeEngine(), MODEL, keep_seconds=0, in_background=AtOnce)
    assert maker.work() is Outcome.COMMITTED
    assert len(world.chunks()) == 1


def test_a_job_without_an_end_gives_the_worker_to_one_that_waits(world: World) -> None:
    world.submit(num_frames=None, endless_limit=160)

    def submit_another(index: int, step: int) -> None:
        world.clock.advance(1)
        if (index, step) == (2, 0):
            world.submit("job_b", num_frames=32)

    maker = world.maker(NotingEngine(submit_another), ahead=AtOnce)
    maker.work()
    assert (len(world.chunks()), len(world.chunks("job_b"))) == (3, 0)
    maker.work()
    assert (len(world.chunks()), len(world.chunks("job_b"))) == (3, 2), "one that has an end and has begun is finished"


def test_a_job_gives_the_worker_to_an_older_one_that_has_begun_and_not_to_a_new_one(world: World) -> None:
    world.submit("job_old", num_frames=32)
    world.clock.advance(1)
    world.submit(num_frames=48)
    world.clock.advance(1)
    world.submit("job_new", num_frames=32)
    held = world.store.claim("job_old", Lane.GENERATE, "worker-2", 3600)
    assert held

    def let_go(index: int, step: int) -> None:
        if (index, step) == (1, 0):
            world.clock.advance(10)  # its viewers have stalled anyway
            world.store.release(held, count_attempt=False)

    maker = world.maker(NotingEngine(let_go), ahead=AtOnce)
    maker.work()
    assert [len(world.chunks(job)) for job in (JOB, "job_old", "job_new")] == [2, 0, 0]
    maker.work()
    assert [len(world.chunks(job)) for job in (JOB, "job_old", "job_new")] == [2, 2, 0]


def test_a_worker_that_refines_too_keeps_no_job_whose_refinement_comes_first(world: World) -> None:
    world.submit("job_refined", num_frames=80, refine=refine_spec())
    world.clock.advance(1)
    world.submit(num_frames=48)
    engine = NotingEngine(lambda _index, _step: world.clock.advance(10))  # whoever watches has stalled
    maker = ChunkMaker(
        world.services(),
        engine,
        MODEL,
        keep_seconds=KEEP_SECONDS,
        lanes=(Lane.GENERATE, Lane.REFINE),
        in_background=AtOnce,
    )
    maker.work()
    assert len(world.chunks("job_refined")) == 3, "since chunk 1 there is work for its refiner"
    world.work(maker)
    assert world.store.get(JOB).status is world.store.get("job_refined").status is JobStatus.SUCCEEDED


def test_a_job_whose_viewers_are_well_ahead_gives_the_worker_to_a_new_one(world: World) -> None:
    """Each chunk is 16 s of video, made in no time; 20 s are enough."""
    world.submit(num_frames=80, fps=1)
    world.clock.advance(1)
    world.submit("job_new", num_frames=80, fps=1)
    maker = world.maker(ahead=AtOnce)
    maker.work()
    assert [len(world.chunks(job)) for job in (JOB, "job_new")] == [2, 0]
    maker.work()
    assert [len(world.chunks(job)) for job in (JOB, "job_new")] == [2, 2]


def test_after_a_death_a_chunk_is_committed_before_the_next_begins(world: World) -> None:
    """Perhaps the worker died of the next one: the chunk before it must not be lost with each try."""
    world.submit(num_frames=48)
    assert world.store.claim(JOB, Lane.GENERATE, "doomed", 30)
    world.clock.advance(31)
    committed_at_begin: dict[int, int] = {}
    engine = NotingEngine(lambda index, _step: committed_at_begin.setdefault(index, len(world.chunks())))
    maker = world.maker(engine, ahead=Late)
    world.work(maker)
    assert committed_at_begin == {0: 0, 1: 1, 2: 1}
