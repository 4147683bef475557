"""Stalls are counted as a viewer has them who watches a job from its first chunk, whichever workers make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import accumulate, cycle
from typing import cast

import pytest

from benchmarks.scheduling.measures import stalls
from core.service.domain.errors import JobNotFound, StoreUnavailable
from core.service.domain.ports import JobStore
from core.service.domain.priority import Priority
from core.service.domain.schema import ChunkRecord, JobExtension, JobStatus
from core.service.domain.schema.older import totals_of
from tests.helpers.fake_world import JOB, MODEL, HookedEngine, World
from tests.helpers.jobs import DAY_ONE, chunk_of, queued_job
from tests.helpers.metrics import rise_of
from worker.lanes.generate import ChunkMaker
from worker.lanes.stalls import READ_CHUNKS, StallCounter

PLAYED_SECONDS = 2.0
"""A chunk of 16 frames at 8 fps."""
LATE = (5.0, 1.0, 1.0, 4.5, 0.5, 6.0, 2.0, 0.5)
"""Seconds of each chunk. The 4th comes 0.5 s late and the 6th, since viewers have waited before, 2.5 s, not 3 s."""


@pytest.fixture
def counted() -> Callable[[], tuple[float, float]]:
    """Stalls, and stalled seconds, of normal jobs since the test began."""
    labels = {"model": MODEL, "priority": "normal"}
    count, seconds = rise_of("longtake_stalls_total", **labels), rise_of("longtake_stalled_seconds_total", **labels)
    return lambda: (count(), round(seconds(), 6))


def makers(world: World, seconds: Sequence[float], number: int = 1) -> list[ChunkMaker]:
    """Workers that need so many seconds for the chunks that they make in turn."""
    left = iter(seconds)

    def work(step: int) -> None:
        if step == 1:
            world.clock.advance(next(left))

    return [world.maker(HookedEngine(work), world.services(f"worker-{each}")) for each in range(number)]


def watch(world: World, workers: Sequence[ChunkMaker], count: int) -> list[float]:
    """Make so many chunks, one worker after the other; returns when each was there."""
    for _, maker in zip(range(count), cycle(workers), strict=False):
        maker.work()
    return [chunk.created_at.timestamp() for chunk in world.chunks()]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_wait_is_counted_once_however_many_workers_make_the_job(
    world: World, counted: Callable[[], tuple[float, float]], workers: int
) -> None:
    world.submit(num_frames=16 * len(LATE))
    there_at = watch(world, makers(world, LATE, workers), len(LATE))
    assert counted() == stalls(there_at, PLAYED_SECONDS) == (2, 3.0)


class Listed:
    """A job of which one process made every other chunk, and what its counter reads of the others."""

    def __init__(self, seconds: Sequence[float], error: Exception | None = None) -> None:
        self._job, self._error = queued_job(num_frames=16 * len(seconds)), error
        times = [DAY_ONE + timedelta(seconds=at) for at in accumulate(seconds)]
        made = (chunk_of(self._job, index) for index in range(len(seconds)))
        self._chunks = [chunk.model_copy(update={"created_at": at}) for chunk, at in zip(made, times, strict=True)]
        self.read = list[tuple[int, int]]()

    def chunks(self, job_id: str, _variant: str, start: int, stop: int) -> Sequence[ChunkRecord]:
        assert job_id == self._job.id
        self.read.append((start, stop))
        if self._error is not None:
            raise self._error
        return self._chunks[start:stop]

    def commit_every_other(self) -> None:
        counter = StallCounter(cast("JobStore", self))
        for index in range(0, len(self._chunks), 2):
            totals = {"chunks": totals_of(self._chunks[:index])}
            counter.committed(self._job.model_copy(update=totals), self._chunks[index])

    def commit_last(self) -> None:
        """By a process that knows nothing of the job."""
        totals = {"chunks": totals_of(self._chunks[:-1])}
        last = self._chunks[-1]
        StallCounter(cast("JobStore", self)).committed(self._job.model_copy(update=totals), last)


def test_chunks_of_others_are_not_read_while_a_job_is_in_time(counted: Callable[[], tuple[float, float]]) -> None:
    listed = Listed([9.0, *[2.0] * 6])
    listed.commit_every_other()
    assert (listed.read, counted()) == ([], (0, 0))


def test_each_chunk_of_others_is_read_once(counted: Callable[[], tuple[float, float]]) -> None:
    listed = Listed([3.0] * 7)
    listed.commit_every_other()
    assert (listed.read, counted()) == ([(1, 2), (3, 4), (5, 6)], (3, 3.0))


@pytest.mark.parametrize(
    ("seconds", "stalled"),
    [
        pytest.param([3.0] * 3 * READ_CHUNKS, 1.0, id="always-late"),
        pytest.param([*[1.0] * 3 * READ_CHUNKS, 3.0 * READ_CHUNKS + 7.0], 6.0, id="never-late-before"),
    ],
)
def test_of_a_long_job_only_the_newest_chunks_are_read(
    counted: Callable[[], tuple[float, float]], seconds: list[float], stalled: float
) -> None:
    listed, last = Listed(seconds), len(seconds) - 1
    listed.commit_last()
    assert listed.read == [(last - READ_CHUNKS, last)]
    assert counted() == (1, stalled)


@pytest.mark.parametrize("error", [StoreUnavailable("Redis is away"), JobNotFound("it was deleted")])
def test_what_cannot_be_read_interrupts_no_work(counted: Callable[[], tuple[float, float]], error: Exception) -> None:
    listed = Listed([3.0] * 3, error)
    listed.commit_every_other()
    assert (listed.read, counted()) == ([(1, 2)], (0, 0))


def test_the_clock_of_an_extended_job_begins_anew(world: World, counted: Callable[[], tuple[float, float]]) -> None:
    world.submit(num_frames=32)
    world.work(makers(world, [1.0, 1.0])[0])
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    world.clock.advance(1000)
    world.store.extend(JOB, JobExtension(num_frames=80))
    watch(world, makers(world, [1.0, 2.0, 4.5]), 3)
    assert counted() == (1, 2.5)


def test_they_are_counted_by_priority_and_model_and_begin_at_zero(world: World) -> None:
    labels = {"model": MODEL, "priority": "high"}
    count, zero = rise_of("longtake_stalls_total", **labels), rise_of("longtake_stalls_total", **labels)
    world.submit(num_frames=48, priority=Priority.HIGH)
    watch(world, makers(world, [1.0, 1.0, 9.0]), 2)
    assert zero() == 0
    watch(world, makers(world, [9.0]), 1)
    assert count() == 1
