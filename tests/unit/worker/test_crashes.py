"""A worker may die at any call to store, storage or queue: only the chunk in progress is lost, and no byte differs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import pytest

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, FramesTHWC, InputMedia, OnStep
from core.service.domain.manifest import manifest_key, refined_video_key, thumbnail_key, video_key
from core.service.domain.refine_plan import num_pieces
from core.service.domain.refiner import RefinedWindow, RefineState
from core.service.domain.schema import ControlSpec, JobSpec, JobStatus, RefineSpec
from core.service.testing.engines import FakeEngine, FakeRefineEngine
from core.service.testing.job_store import FakeJobStore
from tests.helpers.background import AtOnce, Late
from tests.helpers.clips import clip, picture
from tests.helpers.fake_world import JOB, MemoryJanitorLock, World
from tests.helpers.interruption import InterceptedPort
from tests.helpers.jobs import refine_spec
from worker.lanes.ahead import InBackground
from worker.maintenance.janitor import Janitor
from worker.runtime.services import Services

NUM_FRAMES = 25
"""Two chunks, and two refinement windows, of which the last slides back."""
NUM_CHUNKS = 2
NEVER = 10**9
"""A call that no process makes."""
SIDE = 32
"""Pixels: few, for a job is made hundreds of times here."""


class Killed(BaseException):
    """What kill -9 is here: no handler of errors may catch it, and nothing the process asks for happens any more."""


class Mortal:
    """A process that dies at its `at`-th call of a port, before the call does its work. Without `at` it lives and notes
    in `changing` which of its calls change the world."""

    def __init__(self, world: World, at: int | None = None) -> None:
        self._world = world
        self._at = at
        self._calls = 0
        self.dead = False
        self.changing: list[int] = []

    def port(self, port: object) -> Any:
        """`port`, as the mortal process sees it."""
        return InterceptedPort(port, self.call)

    def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._calls += 1
        number = self._calls
        self.dead = self.dead or number == self._at
        if self.dead:
            raise Killed
        if self._at is not None:
            return method(*args, **kwargs)
        before = contents(self._world)
        result = method(*args, **kwargs)
        if contents(self._world) != before:
            self.changing.append(number)
        return result


def contents(world: World) -> tuple[object, ...]:
    """All that store, storage and queue hold."""
    memory = {name: _copied(value) for name, value in vars(world.store.memory).items() if name != "changed"}
    return memory, dict(world.storage.objects), list(world.queue.messages)


def _copied(value: Any) -> object:
    return {key: copy(held) for key, held in value.items()} if isinstance(value, dict) else copy(value)


class CountingEngine(FakeEngine):
    """Counts the chunks it makes. Along a video its frames are those of that."""

    def __init__(self) -> None:
        super().__init__(steps_per_chunk=1, height=SIDE, width=SIDE)
        self.made = 0

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        self.made += 1
        made = super().next_chunk(spec, state, on_step, inputs)
        if inputs.video is None:
            return made
        return replace(made, frames=inputs.video.read(state.frames_done, len(made.frames)))


class CountingRefineEngine(FakeRefineEngine):
    """Counts the pieces it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        self.made += 1
        return super().refine_window(spec, state, frames, on_step)

    def step_lockstep(self, spec: JobSpec, state: RefineState, on_step: OnStep) -> RefineState:
        self.made += 1
        return super().step_lockstep(spec, state, on_step)

    def finish_lockstep(self, spec: JobSpec, state: RefineState, frames: range) -> FramesTHWC:
        self.made += 1
        return super().finish_lockstep(spec, state, frames)


def mortal_services(world: World, process: Mortal) -> Services:
    services = world.services("doomed")
    ports = {name: process.port(getattr(services, name)) for name in ("store", "storage", "queue")}
    return replace(services, **ports)


def work_until_killed(
    world: World,
    engine: FakeEngine,
    refiner: FakeRefineEngine,
    process: Mortal,
    ahead: InBackground | None = None,
) -> None:
    doomed = mortal_services(world, process)
    with suppress(Killed):
        world.work(world.maker(engine, doomed, ahead), doomed, world.refiner(refiner, doomed))


def lose_the_store(world: World) -> None:
    """Redis forgets everything. A job that has no manifest yet is submitted again by its client."""
    if manifest_key(JOB) in world.storage.objects:
        world.store = FakeJobStore(world.clock)
    world.queue.messages.clear()


def recover(world: World, engine: FakeEngine, refiner: FakeRefineEngine) -> None:
    """The lease runs out, the janitor sends what is missing, healthy workers take it up."""
    janitor = Janitor(world.services("cpu-1"), MemoryJanitorLock())
    for _ in range(20):
        world.work(world.maker(engine), refiner=world.refiner(refiner))
        if JOB in world.store.memory.records and world.store.get(JOB).status.is_terminal:
            return
        janitor.run()
        world.clock.advance(world.settings.lease_ttl_seconds)


def results(world: World) -> list[object]:
    record = world.store.get(JOB)
    keys = (video_key(JOB), thumbnail_key(JOB), refined_video_key(JOB))
    files = [world.storage.objects.get(key) for key in keys]
    return [record.status, [chunk.sha256 for chunk in (*world.chunks(), *world.refined())], *files]


Kind = Literal["preview", "streaming", "lockstep", "picture", "control"]
REFINED: dict[Kind, RefineSpec] = {
    "streaming": refine_spec(num_inference_steps=1, height=2 * SIDE, width=2 * SIDE),
    "lockstep": refine_spec(num_inference_steps=2, schedule="lockstep", height=2 * SIDE, width=2 * SIDE),
}


def submit(world: World, kind: Kind) -> JobSpec:
    if kind == "control":
        control = ControlSpec(type="canny", video=world.upload(control_video()), scale=1.0, start=0.0, end=1.0)
        return world.submit(control=control, num_frames=None, endless_limit=800).spec
    image = world.upload(picture((200, 100, 50), size=(SIDE, SIDE))) if kind == "picture" else None
    return world.submit(num_frames=NUM_FRAMES, refine=REFINED.get(kind), image=image).spec


@cache
def control_video() -> bytes:
    """As long as the jobs here."""
    with TemporaryDirectory() as folder:
        return clip(Path(folder) / "a.mp4", NUM_FRAMES, fps=8, height=SIDE, width=SIDE).read_bytes()


def undisturbed(kind: Kind) -> list[object]:
    """What a job comes to that nothing happens to."""
    world = World()
    submit(world, kind)
    world.work(world.maker(CountingEngine()))
    return results(world)


def moments(kind: Kind, ahead: InBackground | None = None) -> list[int]:
    """Before which calls a process may die: those that change something, for between two of them others find the same;
    and none at all, the last."""
    world = World()
    submit(world, kind)
    process = Mortal(world)
    work_until_killed(world, CountingEngine(), CountingRefineEngine(), process, ahead)
    assert len(process.changing) > 15, "fewer changes than a job makes: the ports were not watched"
    return [*process.changing, NEVER]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_kill_at_any_call_costs_at_most_one_piece_and_no_byte(kind: Kind) -> None:
    expected = undisturbed(kind)
    assert expected[0] is JobStatus.SUCCEEDED
    for at in moments(kind):
        world, engine, refiner = World(), CountingEngine(), CountingRefineEngine()
        process = Mortal(world, at)
        spec = submit(world, kind)
        work_until_killed(world, engine, refiner, process)
        recover(world, engine, refiner)
        assert results(world) == expected, f"killed at call {at}"
        pieces = NUM_CHUNKS + (num_pieces(spec) if spec.refine else 0)
        assert engine.made + refiner.made <= pieces + 1, f"killed at call {at}"
        assert process.dead is (at != NEVER)


@pytest.mark.parametrize("kind", ["preview", "streaming", "picture", "control"])
def test_a_store_lost_with_the_worker_at_any_call_costs_no_byte(kind: Kind) -> None:
    expected = undisturbed(kind)
    for at in moments(kind):
        world, engine, refiner = World(), CountingEngine(), CountingRefineEngine()
        submit(world, kind)
        work_until_killed(world, engine, refiner, Mortal(world, at))
        lose_the_store(world)
        recover(world, engine, refiner)
        assert results(world) == expected, f"killed at call {at}"


AHEAD: list[InBackground] = [AtOnce, Late]
"""Of a worker that makes the next chunk while one is encoded, stored and committed: all of that is done before the next
begins, or nothing of it before the next is made. The next asks nothing of store and storage until it is committed, so
whoever finds the job sees no other order."""


@pytest.mark.parametrize("ahead", AHEAD)
@pytest.mark.parametrize("kind", ["preview", "streaming"])
def test_a_kill_while_a_chunk_is_made_ahead_costs_what_is_not_committed_and_no_byte(
    kind: Kind, ahead: InBackground
) -> None:
    expected = undisturbed(kind)
    for at in moments(kind, ahead):
        world, engine, refiner = World(), CountingEngine(), CountingRefineEngine()
        process = Mortal(world, at)
        spec = submit(world, kind)
        work_until_killed(world, engine, refiner, process, ahead)
        committed = world.store.get(JOB).chunks.count
        lost = engine.made - committed
        recover(world, engine, refiner)
        assert results(world) == expected, f"killed at call {at}"
        assert process.dead is (at != NEVER)
        assert lost <= 2, f"killed at call {at}"
        pieces = NUM_CHUNKS + (num_pieces(spec) if spec.refine else 0)
        assert engine.made + refiner.made <= pieces + max(1, lost), f"killed at call {at}"


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_store_lost_while_a_chunk_is_made_ahead_costs_no_byte(ahead: InBackground) -> None:
    expected = undisturbed("preview")
    for at in moments("preview", ahead):
        world, engine, refiner = World(), CountingEngine(), CountingRefineEngine()
        submit(world, "preview")
        work_until_killed(world, engine, refiner, Mortal(world, at), ahead)
        lose_the_store(world)
        recover(world, engine, refiner)
        assert results(world) == expected, f"killed at call {at}"
