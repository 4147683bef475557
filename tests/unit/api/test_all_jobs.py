"""Following all jobs of a key: ready first, then each job as it is whenever it has changed, and only one's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient

from api.access.caller import EVERYBODY, Caller
from api.access.known_keys import KnownKeys
from api.access.links import tokens_of
from api.access.streams import list_permit
from api.events.all_jobs import Overviews, follow_all
from api.events.sse import Streams, event_stream_limit
from api.events.text import ListPermit
from api.routes.answers import progress_now
from core.service.domain.api_keys import Scope
from core.service.domain.key_changes import revoked
from core.service.domain.views import PublicUrls
from tests.helpers.api_world import BASE_URL, QUICK, World, submit
from tests.helpers.customers import bearer, customer, with_keys

PATIENCE_SECONDS = 20
Told = tuple[str, dict[str, Any]]
"""Type and data of an event."""


def permit(world: World, caller: Caller = EVERYBODY, digest: str = "") -> ListPermit:
    keys = KnownKeys(world.keys, world.clock)
    urls = PublicUrls(BASE_URL, BASE_URL, tokens_of(caller, world.settings, world.clock.now()))
    return list_permit(caller, digest, urls, keys, world.clock, world.settings)


def told(world: World, act: Callable[[], object], until: Callable[[Told], bool], **who: Any) -> list[Told]:
    """What a listener is told after `jobs.ready`, while `act` runs, up to the event that `until` knows."""

    async def listen() -> list[Told]:
        streams = Streams(world.ports(), event_stream_limit(100, 100), QUICK)
        overviews = Overviews(streams, partial(progress_now, world.ports()))
        heard: list[Told] = []
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            aclosing(follow_all(streams, overviews, permit(world, **who))) as parts,
        ):
            async for part in parts:
                for event in events_of(part):
                    if event[0] == "jobs.ready":
                        act()
                    else:
                        heard.append(event)
                        if until(event):
                            return heard
        return heard

    return anyio.run(listen)


def events_of(text: str) -> list[Told]:
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "event" in block]


def test_a_job_that_comes_and_ends_is_told_as_the_list_has_it(api: TestClient, world: World) -> None:
    heard = told(
        world, lambda: world.finish(submit(api, num_frames=16)), lambda event: event[1]["status"] == "succeeded"
    )
    assert {kind for kind, _ in heard} == {"job.changed"}
    assert heard[-1][1] == api.get("/jobs").json()["jobs"][0]


def test_what_was_there_before_is_not_told_until_it_changes(api: TestClient, world: World) -> None:
    old, other = submit(api, num_frames=16), submit(api)
    world.finish(old)
    heard = told(world, lambda: world.start(other), lambda event: event[1]["id"] == other)
    assert old not in [job["id"] for _, job in heard]


def test_a_deleted_job_is_told_of(api: TestClient, world: World) -> None:
    job_id = submit(api)
    heard = told(world, lambda: api.delete(f"/jobs/{job_id}"), lambda event: event[0] == "job.deleted")
    assert heard[-1] == ("job.deleted", {"id": job_id})


def test_a_step_of_a_chunk_is_a_change(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.start(job_id)
    heard = told(world, lambda: world.step(job_id, 3), lambda _: True)
    assert heard[-1][1]["progress"]["step"] == 3


def test_an_unfinished_job_stays_in_sight_behind_many_newer_ones(
    api: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.events.overview.NEWEST", 3)
    first = submit(api)
    for _ in range(5):
        world.clock.advance(1)
        world.finish(submit(api, num_frames=16))
    assert told(world, lambda: world.start(first), lambda _: True)[-1][1]["id"] == first


def test_a_key_is_told_of_its_own_jobs_only(world: World) -> None:
    one, other = (customer(world.keys) for _ in range(2))
    key = world.keys.get(one.id)

    def both_submit() -> None:
        with world.client(with_keys(world.settings)) as api:
            for text in (other.text, one.text):
                api.headers = bearer(text)
                submit(api)

    heard = told(world, both_submit, lambda _: True, caller=Caller(key=key), digest=key.text_sha256)
    assert [job["owner"] for _, job in heard] == [key.id]
    assert "token=" in heard[0][1]["links"]["video"]


def test_a_stream_ends_when_its_key_is_revoked(world: World) -> None:
    key = world.keys.get(customer(world.keys, Scope.READ).id)

    def revoke() -> None:
        world.keys.change(key.id, lambda known: revoked(known, world.clock.now()))

    assert told(world, revoke, lambda _: False, caller=Caller(key=key), digest=key.text_sha256) == []


def test_nobody_listens_and_nothing_is_looked_at(api: TestClient, world: World) -> None:
    async def leave_and_count() -> tuple[bool, int]:
        streams = Streams(world.ports(), event_stream_limit(100, 100), QUICK)
        overviews = Overviews(streams, partial(progress_now, world.ports()))
        async with aclosing(follow_all(streams, overviews, permit(world))) as parts:
            await anext(parts)
            overview = overviews.of(None)
        looks = asyncio.all_tasks() - {asyncio.current_task()}
        _, still = await asyncio.wait(looks, timeout=PATIENCE_SECONDS)
        return overview.has_listeners, len(still)

    submit(api)
    assert anyio.run(leave_and_count) == (False, 0)
