"""An event stream lasts as long as what it was opened with."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Any

import pytest

from core.service.domain.api_keys import ApiKey, Scope, new_key
from core.service.domain.key_changes import revoked, rotated
from core.service.domain.manifest import chunk_key
from tests.helpers.api_world import BASE_URL, World, submit
from tests.helpers.callers import Callers, path_of
from tests.helpers.customers import bearer, customer

DAY = 86_400


def with_another_text(key: ApiKey, now: datetime) -> ApiKey:
    return rotated(key, new_key(key.id).text, now, grace_seconds=0)


async def _opened(app: Any, path: str, headers: dict[str, str], act: Any) -> str:
    """The text of an event stream that stays open while `act` is called."""
    sent, done = list[bytes](), asyncio.Event()
    query = path.partition("?")[2].encode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path.partition("?")[0], "raw_path": path.partition("?")[0].encode(), "query_string": query,
        "headers": [(b"host", b"testserver"), *((n.lower().encode(), v.encode()) for n, v in headers.items())],
        "client": ("127.0.0.1", 1), "server": ("testserver", 80), "root_path": "",
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        if not done.is_set():
            done.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if b"job.queued" in message.get("body", b""):
            act()

    async with asyncio.timeout(30):
        await app(scope, receive, send)
    return b"".join(sent).decode()


ENDS = [
    "the link is revoked",
    "the link expires",
    "the job's key is revoked",
    "the key is revoked",
    "the key has another text",
]


@pytest.mark.parametrize("ends", ENDS)
def test_an_open_stream_ends_with_what_it_was_opened_with(callers: Callers, world: World, ends: str) -> None:
    made = submit(callers.one)
    link, headers = path_of(callers.one.get(f"/jobs/{made}").json()["links"]["events"]), dict[str, str]()
    if ends.startswith("the key"):
        link, headers = f"/jobs/{made}/events", {"Authorization": callers.one.headers["authorization"]}

    def act() -> None:
        if ends == "the link expires":
            world.clock.advance(2 * DAY)
        elif ends == "the link is revoked":
            world.store.revoke_links(made, "0" * 32)
        else:
            now, owner = world.clock.now(), str(world.store.get(made).owner)
            change = revoked if ends.endswith("key is revoked") else with_another_text
            world.keys.change(owner, lambda key: change(key, now))
            world.clock.advance(5)

    text = asyncio.run(_opened(callers.nobody.app, link, headers, act))
    assert "job.queued" in text
    assert "job.canceled" not in text


def test_an_open_stream_ends_when_its_key_may_not_see_the_job_any_more(callers: Callers, world: World) -> None:
    new, made = customer(world.keys, Scope.ADMIN), submit(callers.one)

    def act() -> None:
        world.keys.change(new.id, lambda key: key.model_copy(update={"scope": Scope.JOBS}))
        world.clock.advance(5)

    assert "job.queued" in asyncio.run(_opened(callers.nobody.app, f"/jobs/{made}/events", bearer(new.text), act))


def test_an_open_stream_of_a_key_goes_on_with_new_links(callers: Callers, world: World) -> None:
    made = submit(callers.one, num_frames=16)
    headers = {"Authorization": callers.one.headers["authorization"]}

    def act() -> None:
        world.clock.advance(3 * DAY)
        asyncio.get_running_loop().call_later(0.3, world.finish, made)

    text = asyncio.run(_opened(callers.nobody.app, f"/jobs/{made}/events", headers, act))
    (url,) = re.findall(r'"url":"([^"]+)"', text)
    assert url.startswith(f"{BASE_URL}/jobs/{made}/chunks/0.mp4?token=")
    world.storage.put(chunk_key(made, 0), bytes(3000), "video/mp4")
    assert callers.nobody.get(path_of(url)).status_code == 200
