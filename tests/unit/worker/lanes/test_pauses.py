"""A paused worker begins nothing more, and the message that woke it goes to another worker where one may have it."""

from __future__ import annotations

import pytest

from core.service.domain.ports import EVERYTHING, PauseTarget
from core.service.domain.schema import Lane
from core.service.records.wake import wake_for_all
from tests.helpers.fake_world import JOB, MODEL, World
from tests.unit.worker.lanes.test_keeping import keeps
from worker.lanes import lane
from worker.lanes.lane import Outcome

WHOLE = (EVERYTHING, PauseTarget(model=MODEL))
OF_WORKER = PauseTarget(worker="worker-1")


@pytest.mark.parametrize("target", WHOLE, ids=str)
def test_paused_workers_claim_nothing_and_go_on_when_they_are_resumed(world: World, target: PauseTarget) -> None:
    world.submit(num_frames=16)
    world.queue.messages.clear()
    world.pauses.pause(target, world.clock.now())
    assert world.maker().work() is Outcome.DROPPED
    assert not world.store.get(JOB).lane(Lane.GENERATE).held
    assert world.queue.messages == []

    world.pauses.resume(target)
    wake_for_all(world.store, world.queue)
    assert [message.job_id for message in world.queue.messages] == [JOB]
    assert world.maker().work() is Outcome.COMMITTED


def test_a_paused_worker_leaves_its_message_to_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PAUSED_SECONDS", 0.0)
    world.submit(num_frames=16)
    world.queue.messages.clear()
    world.pauses.pause(OF_WORKER, world.clock.now())
    assert world.maker().work() is Outcome.DROPPED
    assert [message.job_id for message in world.queue.messages] == [JOB]
    assert world.maker(services=world.services("worker-2")).work() is Outcome.COMMITTED


def test_another_model_s_pause_holds_nothing(world: World) -> None:
    world.submit(num_frames=16)
    world.pauses.pause(PauseTarget(model="another"), world.clock.now())
    assert world.maker().work() is Outcome.COMMITTED


@pytest.mark.parametrize("target", [*WHOLE, OF_WORKER], ids=str)
def test_a_worker_that_is_paused_keeps_no_job(world: World, target: PauseTarget) -> None:
    world.submit(num_frames=48)
    world.pauses.pause(target, world.clock.now())
    assert not keeps(world)
