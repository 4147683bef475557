"""Errors of engines, also third parties', and deaths of workers: what they cost a job, and what it then says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    ChunkRequest,
    Engine,
    EngineChunk,
    EngineState,
    InputMedia,
    OnStep,
)
from core.service.domain.errors import (
    HubUnreachable,
    LongtakeError,
    NotFinite,
    PresetError,
    StorageUnavailable,
    StoreUnavailable,
)
from core.service.domain.manifest import chunk_key, manifest_key
from core.service.domain.schema import JobError, JobSpec, JobStatus, Lane
from core.service.testing.engines import FakeEngine
from tests.helpers.fake_world import JOB, World
from tests.helpers.generating import attempts
from tests.helpers.manifests import record_from_manifest
from worker.lanes.completion import job_error
from worker.lanes.lane import Outcome


class BrokenEngine(FakeEngine):
    """Always fails in the midst of a chunk."""

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        del spec, state, inputs
        on_step(0, 2)
        raise RuntimeError("a kernel of /home/someone failed")


def test_an_engine_error_counts_and_fails_the_job_at_the_limit_without_paths_in_the_message(world: World) -> None:
    world.submit()
    world.queue.messages.clear()
    maker = world.maker(BrokenEngine())
    for tries in (1, 2, 3):
        with pytest.raises(RuntimeError):
            maker.work()
        assert attempts(world) == tries
        assert world.tasks() == []
        assert maker.work() is Outcome.DROPPED
        world.clock.advance(world.settings.janitor_interval_seconds * 2**tries)
    record = world.store.get(JOB)
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert (record.error.code, record.error.retryable) == ("engine_error", False)
    assert record.error.message == "chunk 0 failed 3 times; last error: RuntimeError"
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]).status is JobStatus.FAILED


@pytest.mark.parametrize(
    "error",
    [
        PresetError("/srv/models/sprites/unet is damaged", fix="restore /srv/models"),
        HubUnreachable("http://10.0.0.7:3128 does not answer"),
        StorageUnavailable("http://10.0.0.7:9000 does not answer: PUT jobs/job_a/secret"),
        StoreUnavailable("10.0.0.7:6379 does not answer"),
        OSError(2, "No such file", "/srv/models/10.0.0.7"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_error_of_a_failed_job_shows_no_address_key_or_folder(error: Exception) -> None:
    told = job_error(error, "chunk 3 failed 3 times", "engine_error").model_dump_json()
    assert "chunk 3 failed 3 times; last error: " in told
    assert not any(secret in told for secret in ("10.0.0.7", "/srv", "secret"))


def test_a_commit_forgets_the_failures_before_it(world: World) -> None:
    world.submit()
    with pytest.raises(RuntimeError):
        world.maker(BrokenEngine()).work()
    world.clock.advance(60)
    assert world.maker().work() is Outcome.COMMITTED
    assert attempts(world) == 0


def kill_workers(world: World, count: int, meanwhile: Callable[[], object]) -> None:
    """Workers that claim the job and die of it, one after the other; others do `meanwhile`."""
    for _ in range(count):
        assert world.store.claim(JOB, Lane.GENERATE, "doomed", 30) is not None
        meanwhile()
        world.clock.advance(31)


def other_job_gets_on(world: World) -> Callable[[], object]:
    world.clock.advance(1)
    world.submit("job_other", num_frames=1600)
    return world.maker(services=world.services("worker-2")).work


def test_deaths_of_workers_are_no_attempts_of_the_job(world: World) -> None:
    world.submit(num_frames=16)
    kill_workers(world, 6, lambda: None)
    assert world.maker().work() is Outcome.COMMITTED
    assert attempts(world) == 0


def test_a_job_that_kills_workers_while_others_succeed_fails_as_poison(world: World) -> None:
    world.submit()
    kill_workers(world, 5, other_job_gets_on(world))
    assert world.maker().work() is Outcome.FAILED
    error = world.store.get(JOB).error
    assert error is not None
    assert (error.code, error.message) == (
        "poison_job",
        "5 workers in a row died while making chunk 0",
    )


def test_one_death_less_is_none_and_a_commit_forgets_them(world: World) -> None:
    world.submit()
    kill_workers(world, 4, other_job_gets_on(world))
    assert world.maker().work() is Outcome.COMMITTED
    assert world.store.get(JOB).lane(Lane.GENERATE).deaths == 0


class NotFiniteEngine(FakeEngine):
    """Makes one chunk, and numbers that are none in the next."""

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        if state.frames_done:
            raise NotFinite("the window of chunk 1 is not finite")
        return super().next_chunk(spec, state, on_step, inputs)


def test_numbers_that_are_not_finite_fail_the_job_at_once_and_keep_its_chunks(world: World) -> None:
    world.submit()
    maker = world.maker(NotFiniteEngine())
    assert maker.work() is Outcome.COMMITTED
    assert maker.work() is Outcome.FAILED
    record = world.store.get(JOB)
    assert record.error == JobError(code="not_finite", message="the window of chunk 1 is not finite", retryable=False)
    assert chunk_key(JOB, 0) in world.storage.objects


class ForeignEngine(FakeEngine):
    """A third party's, which returns `results` for one request."""

    def __init__(self, results: list[Any], start: Any = None) -> None:
        super().__init__()
        self._results, self._start = results, start

    def start(self, spec: JobSpec, inputs: InputMedia) -> EngineState:
        return self._start or super().start(spec, inputs)

    def next_chunks(self, requests: Sequence[ChunkRequest]) -> list[EngineChunk | Exception]:
        del requests
        return self._results


def foreign_chunk(frames: Any = None, state: Any = None) -> EngineChunk:
    """A chunk 0 that is right but for what is named."""
    frames = np.zeros((16, 64, 64, 3), np.uint8) if frames is None else frames
    return EngineChunk(frames, EngineState(16) if state is None else state, {})


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (ForeignEngine([]), "the engine returned 0 chunks for 1 request"),
        (ForeignEngine([foreign_chunk()] * 2), "the engine returned 2 chunks for 1 request"),
        (ForeignEngine([None]), "the engine returned NoneType instead of an EngineChunk"),
        (
            ForeignEngine([foreign_chunk(np.zeros((15, 64, 64, 3), np.uint8))]),
            "the engine returned 15 frames instead of 16",
        ),
        (ForeignEngine([foreign_chunk([1] * 16)]), "the engine returned frames that are no numpy array"),
        (
            ForeignEngine([foreign_chunk(np.zeros((16, 64, 64, 3), np.float32))]),
            "Expected uint8 RGB frames THWC, got float32 (16, 64, 64, 3).",
        ),
        (ForeignEngine([foreign_chunk(state={})]), "the engine returned dict instead of an EngineState"),
        (
            ForeignEngine([foreign_chunk(state=EngineState(32))]),
            "the engine returned a state with frames_done 32 instead of 16",
        ),
        (
            ForeignEngine([foreign_chunk(state=EngineState(16, {"x": np.asarray([object()])}))]),
            "the engine returned a state that cannot be stored: ",
        ),
        (
            ForeignEngine([foreign_chunk(state=EngineState(16, {"frames_done": np.zeros(3)}))]),
            "the engine returned a state that cannot be stored: no array may be named frames_done",
        ),
        (
            ForeignEngine([foreign_chunk()], start=EngineState(16)),
            "the engine's start returned a state with frames_done 16 instead of 0",
        ),
    ],
)
def test_the_job_says_what_a_third_partys_engine_does_wrong(world: World, engine: Engine, said: str) -> None:
    world.submit()
    maker = world.maker(engine)
    for _ in range(world.settings.max_attempts):
        with pytest.raises(LongtakeError):
            maker.work()
        world.rest()
    record = world.store.get(JOB)
    assert record.error is not None
    assert record.error.message.startswith(f"chunk 0 failed 3 times; last error: {said}")
    assert record.chunks.count == 0
