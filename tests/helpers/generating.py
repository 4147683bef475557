"""What tests of the generate lane share: engines that tests act within, and what a worker leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, InputMedia, OnStep
from core.service.domain.schema import JobSpec, JobStatus, Lane
from core.service.testing.engines import FakeEngine
from tests.helpers.background import AtOnce, Late
from tests.helpers.fake_world import JOB, World
from worker.lanes.ahead import InBackground
from worker.lanes.lane import Outcome
from worker.runtime.server_retry import ServerCall

EVERY_ORDER: list[InBackground] = [AtOnce, Late, ServerCall]
WAIT_SECONDS = 30


class NotingEngine(FakeEngine):
    """Calls `at_step(index of the chunk, step)` before on_step, and notes the chunks that it has begun."""

    def __init__(self, at_step: Callable[[int, int], object] = lambda _index, _step: None) -> None:
        super().__init__()
        self.begun: list[int] = []
        self._at_step = at_step

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        index = state.frames_done // 16
        self.begun.append(index)

        def noting(step: int, steps: int) -> None:
            self._at_step(index, step)
            on_step(step, steps)

        return super().next_chunk(spec, state, noting, inputs)


def attempts(world: World) -> int:
    """Of the generate lane."""
    return world.store.get(JOB).lane(Lane.GENERATE).attempts


def generate_lane(world: World) -> tuple[int, int, bool]:
    """Attempts and deaths of the lane, and whether it is held."""
    state = world.store.get(JOB).lane(Lane.GENERATE)
    return state.attempts, state.deaths, state.held


def objects_of(**changes: Any) -> dict[str, bytes]:
    """What is stored of the same job if each chunk is made by another worker, from the state in the storage."""
    world = World()
    world.submit(**changes)
    while not world.store.get(JOB).is_complete:
        assert world.maker().work() is Outcome.COMMITTED
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    return {key: data for key, data in world.storage.objects.items() if not key.endswith("manifest.json")}
