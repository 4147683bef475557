"""A deletion at any call of a worker leaves no object, and the job does not return even if Redis is lost afterwards."""

from __future__ import annotations

import pytest

from core.service.domain.errors import JobNotFound
from core.service.domain.manifest import JOBS_PREFIX, TOMBSTONES_PREFIX
from core.service.domain.schema import RefineSpec
from core.service.domain.transitions import TOMBSTONE_TIME
from core.service.domain.uploads import upload_id_of_key
from core.service.records.orphans import find_orphans
from core.service.records.tombstones import delete_job
from core.service.testing.engines import FakeEngine
from core.service.testing.job_store import FakeJobStore
from tests.helpers.clips import picture
from tests.helpers.fake_world import JOB, MemoryJanitorLock, World
from tests.helpers.interruption import Interruption, interrupted_services
from tests.helpers.jobs import refine_spec
from worker.maintenance.janitor import Janitor

CALLS_TO_PREPARE = 14
"""More calls of ports than the preparing of one picture needs."""
SIDE = 32
"""Pixels: few, for a job is made many times here."""


def clean(world: World) -> None:
    """Until the tombstone has gone, too, with what a worker may have stored after the deletion."""
    janitor = Janitor(world.services("cpu-1"), MemoryJanitorLock())
    janitor.run()
    world.clock.advance(TOMBSTONE_TIME.total_seconds() + 1)
    janitor.run()


def deleted_at(at: int, refine: RefineSpec | None, *, before: bool, with_image: bool = False) -> tuple[World, bool]:
    """A job that is deleted at the worker's `at`-th call; False if the worker made fewer calls."""
    world = World()
    image = world.upload(picture((200, 100, 50), size=(SIDE, SIDE))) if with_image else None
    world.submit(num_frames=25, refine=refine, image=image)
    interruption = Interruption(at, lambda: delete_job(world.store, world.storage, JOB), before=before)
    services = interrupted_services(world, interruption)
    world.work(world.maker(FakeEngine(steps_per_chunk=1, height=SIDE, width=SIDE), services), services)
    return world, interruption.done


@pytest.mark.parametrize("before", [True, False], ids=["before-the-call", "after-the-call"])
@pytest.mark.parametrize(
    "refine", [None, refine_spec(num_inference_steps=1, height=2 * SIDE, width=2 * SIDE)], ids=["preview", "refined"]
)
def test_a_deletion_at_any_call_leaves_no_object(refine: RefineSpec | None, before: bool) -> None:
    at, deleted = 0, True
    while deleted:
        at += 1
        world, deleted = deleted_at(at, refine, before=before)
        if deleted:
            clean(world)
            assert [*world.storage.list("")] == [], f"deleted at call {at}"
            assert [*find_orphans(world.store, world.storage, world.uploads)] == []
    assert at > 20, "fewer calls than a job makes: the ports were not counted"


@pytest.mark.parametrize("before", [True, False], ids=["before-the-call", "after-the-call"])
def test_a_deletion_at_any_call_while_media_are_prepared_leaves_no_object(before: bool) -> None:
    at, deleted = 0, True
    while deleted and at < CALLS_TO_PREPARE:
        at += 1
        world, deleted = deleted_at(at, None, before=before, with_image=True)
        clean(world)
        left = [key for key in world.storage.list("") if upload_id_of_key(key) is None]
        assert left == [], f"deleted at call {at}"


def test_a_job_deleted_at_any_call_does_not_come_back_after_a_lost_redis() -> None:
    at, deleted = 0, True
    while deleted:
        at += 1
        world, deleted = deleted_at(at, None, before=False)
        if deleted:
            world.store = FakeJobStore(world.clock)
            Janitor(world.services("cpu-1"), MemoryJanitorLock()).run()
            with pytest.raises(JobNotFound):
                world.store.get(JOB)
            assert [*world.storage.list(JOBS_PREFIX)] == []
            assert len([*world.storage.list(TOMBSTONES_PREFIX)]) == 1
