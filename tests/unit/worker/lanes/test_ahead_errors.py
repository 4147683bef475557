"""Errors of a chunk, of the next one that is made meanwhile, and of the device: each counts where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, InputMedia, OnStep
from core.service.domain.schema import JobChange, JobSpec
from core.service.testing.queue import FakeTaskQueue
from tests.helpers.background import Late
from tests.helpers.fake_world import JOB, World
from tests.helpers.generating import EVERY_ORDER, NotingEngine, generate_lane
from worker.lanes.ahead import InBackground
from worker.lanes.lane import Outcome
from worker.runtime.server_retry import ServerCall


class OddEngine(NotingEngine):
    """One chunk cannot be encoded: the first."""

    odd_until = 16
    """Frames of the video after that chunk."""

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        made = super().next_chunk(spec, state, on_step, inputs)
        return replace(made, frames=made.frames[:, :-1]) if made.state.frames_done == self.odd_until else made


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_an_error_of_the_next_chunk_counts_as_its_attempt_and_the_one_before_is_committed(
    world: World, ahead: InBackground
) -> None:
    world.submit(num_frames=48)

    def fail(index: int, step: int) -> None:
        if (index, step) == (1, 1):
            raise RuntimeError("a kernel failed")

    maker = world.maker(NotingEngine(fail), ahead=ahead)
    for tries in (1, 2, 3):
        with pytest.raises(RuntimeError, match="a kernel failed"):
            maker.work()
        assert (len(world.chunks()), generate_lane(world)) == (1, (tries, 0, False))
        world.rest()
    error = world.store.get(JOB).error
    assert error is not None
    assert error.message == "chunk 1 failed 3 times; last error: RuntimeError"


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_an_error_of_a_chunk_that_cannot_be_encoded_is_its_own_and_the_next_is_dropped(
    world: World, ahead: InBackground
) -> None:
    engine = OddEngine()
    engine.odd_until = 32
    world.submit(num_frames=64)
    maker = world.maker(engine, ahead=ahead)
    for _ in range(world.settings.max_attempts):
        with pytest.raises(Exception, match="both sides must be even"):
            maker.work()
        world.rest()
    record = world.store.get(JOB)
    assert record.error is not None
    assert record.error.message.startswith("chunk 1 failed 3 times")
    assert record.chunks.count == 1


class OutOfMemoryError(RuntimeError):
    """As torch raises it on a GPU."""


OutOfMemoryError.__module__ = "torch"


def raising(error: Exception, at: tuple[int, int], first: Callable[[], object] = lambda: None) -> Callable[..., None]:
    """A hook that calls `first` and raises once, at that chunk and step."""
    left = [error]

    def at_step(index: int, step: int) -> None:
        if (index, step) == at and left:
            first()
            raise left.pop()

    return at_step


def test_an_error_of_a_chunk_that_is_not_used_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.submit(num_frames=48)
    maker = world.maker(OddEngine(raising(RuntimeError("a kernel failed"), (1, 1))), ahead=Late)
    with pytest.raises(Exception, match="both sides must be even"):
        maker.work()
    assert "chunk 1, which is not used, failed" in caplog.text
    assert "a kernel failed" in caplog.text


def test_a_device_fault_ends_the_process_although_the_chunk_before_failed(world: World) -> None:
    world.submit(num_frames=48)
    with pytest.raises(OutOfMemoryError):
        world.maker(OddEngine(raising(OutOfMemoryError(), (1, 1))), ahead=Late).work()
    assert (len(world.chunks()), generate_lane(world)) == (0, (1, 0, False))


def test_a_device_fault_ends_the_process_although_the_lane_was_not_kept(world: World) -> None:
    world.submit(num_frames=48)
    services = world.services()
    engine = NotingEngine(raising(OutOfMemoryError(), (1, 1), services.drain.set))
    maker = world.maker(engine, services, ahead=Late)
    with pytest.raises(OutOfMemoryError):
        maker.work()
    assert (len(world.chunks()), generate_lane(world)) == (1, (0, 0, False))


def test_a_device_fault_ends_the_process_although_the_chunk_is_no_longer_wanted(world: World) -> None:
    world.submit(num_frames=96)
    engine = NotingEngine(
        raising(OutOfMemoryError(), (2, 2), lambda: world.store.steer(JOB, JobChange(prompt="a blue circle")))
    )
    maker = world.maker(engine, ahead=Late)
    with pytest.raises(OutOfMemoryError):
        maker.work()
    assert engine.begun == [0, 1, 2, 2]
    assert generate_lane(world) == (0, 0, False)


@pytest.mark.parametrize("ahead", [Late, ServerCall])
def test_a_chunk_is_committed_before_the_task_ends_however_it_does(world: World, ahead: InBackground) -> None:
    world.submit(num_frames=48)

    def leave(index: int, step: int) -> None:
        if (index, step) == (1, 1):
            raise SystemExit

    with pytest.raises(SystemExit):
        world.maker(NotingEngine(leave), ahead=ahead).work()
    assert len(world.chunks()) == 1


def test_a_fault_after_a_commit_is_no_attempt_at_the_chunk(world: World) -> None:
    class Faulty(FakeTaskQueue):
        faults = 1

        def deliver_webhooks(self) -> None:
            if self.faults > 0:
                self.faults -= 1
                raise RuntimeError("a fault of the queue's client")
            super().deliver_webhooks()

    world.queue = Faulty()
    world.submit(num_frames=48, webhook_url="https://example.com/hook", webhook_events=("chunk.completed",))
    assert world.maker(ahead=Late).work() is Outcome.COMMITTED
    assert (len(world.chunks()), world.queue.faults, generate_lane(world)) == (3, 0, (0, 0, False))
