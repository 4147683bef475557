"""A janitor's pass at any call of a worker, with its lease valid or expired: the same video, and one end."""

from __future__ import annotations

import pytest

from core.service.domain.manifest import video_key
from core.service.domain.schema import JobStatus
from core.service.testing.engines import FakeEngine
from tests.helpers.fake_world import JOB, MemoryJanitorLock, World
from tests.helpers.interruption import Interruption, interrupted_services
from worker.maintenance.janitor import Janitor

SIDE = 32
"""Pixels: few, for a job is made many times here."""


def made_with_a_pass_at(at: int, seconds: float, *, before: bool) -> tuple[World, bool]:
    """At the worker's `at`-th call `seconds` pass and a janitor runs; False if the worker was done before."""
    world = World()
    world.submit(num_frames=25)
    janitor = Janitor(world.services("cpu-1"), MemoryJanitorLock())

    def clean() -> None:
        world.clock.advance(seconds)
        janitor.run()

    interruption = Interruption(at, clean, before=before)
    services = interrupted_services(world, interruption)
    world.work(world.maker(FakeEngine(steps_per_chunk=1, height=SIDE, width=SIDE), services), services)
    return world, interruption.done


@pytest.mark.parametrize("before", [True, False], ids=["before-the-call", "after-the-call"])
@pytest.mark.parametrize("leases", [0.0, 1.1], ids=["lease-alive", "lease-over"])
def test_a_pass_at_any_call_changes_no_byte(leases: float, before: bool) -> None:
    seconds = leases * World().settings.lease_ttl_seconds
    undisturbed, _ = made_with_a_pass_at(0, 0, before=before)
    expected = [chunk.sha256 for chunk in undisturbed.chunks()]
    at, passed = 0, True
    while passed:
        at += 1
        world, passed = made_with_a_pass_at(at, seconds, before=before)
        record = world.store.get(JOB)
        assert record.status is JobStatus.SUCCEEDED, f"passed at call {at}"
        assert [chunk.sha256 for chunk in world.chunks()] == expected, f"passed at call {at}"
        assert world.storage.objects[video_key(JOB)] == undisturbed.storage.objects[video_key(JOB)]
        ends = [event.type for event in world.store.memory.events[JOB] if event.type.startswith("job.")]
        assert ends == ["job.queued", "job.started", "job.succeeded"], f"passed at call {at}"
    assert at > 20, "fewer calls than a job makes: the ports were not counted"
