"""No customer sees or changes what is another's, on any route: they are read from the OpenAPI document, so that a new
route cannot be forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.api_keys import Scope
from tests.helpers.api_world import ENDLESS, World, submit
from tests.helpers.callers import Callers, path_of

DAY = 86_400
NOWHERE = {"job_id": "job_nowhere", "upload_id": "upl_nowhere", "ping_id": "ping_nowhere"}
"""Path parameters that name what belongs to somebody; and nothing."""
OTHERS = {"index": "0", "model": "fake", "delivery_id": "msg_a", "key_id": "key_" + "a" * 16}
"""The other ones: parts of a job, models, and keys, which are for operators only."""
OF_ONE_ANSWER = {"x-request-id", "content-length", "access-control-allow-origin", "access-control-expose-headers"}
"""Headers that tell nothing of the job."""
CREATES = ("PUT", "/jobs/{job_id}")
"""Makes the job of this id if there is none: see test_own_jobs."""


@dataclass(frozen=True)
class Operation:
    method: str
    path: str

    @property
    def of(self) -> str | None:
        """The parameter that names what belongs to somebody."""
        return next((name for name in NOWHERE if f"{{{name}}}" in self.path), None)

    def path_for(self, ids: dict[str, str]) -> str:
        return self.path.format(**OTHERS, **ids)


@pytest.fixture
def owned(callers: Callers, world: World) -> dict[str, str]:
    """Ids of an ended job, an upload and a ping of `callers.one`."""
    job_id = submit(callers.one, num_frames=16, webhook_url="https://example.com/hook", measure=True)
    world.finish(job_id)
    world.measure(job_id)
    upload = callers.one.post("/uploads", json={"content_type": "image/png", "size_bytes": 3})
    ping = callers.one.post("/webhooks/ping", json={"webhook_url": "https://example.com/hook"})
    return {"job_id": job_id, "upload_id": upload.json()["id"], "ping_id": ping.json()["id"]}


def operations(callers: Callers) -> Iterator[Operation]:
    for path, methods in callers.nobody.get("/openapi.json").json()["paths"].items():
        for method in methods:
            if (method.upper(), path) != CREATES:
                yield Operation(method.upper(), path)
            if method == "get":
                yield Operation("HEAD", path)


def owned_operations(callers: Callers) -> list[Operation]:
    found = [each for each in operations(callers) if each.of is not None]
    assert len(found) > 20
    return found


def seen(answer: Any, ids: dict[str, str]) -> Any:
    """All of an answer that differs between no two requests; ids read as those of nothing."""
    text = answer.text
    for name, value in ids.items():
        text = text.replace(value, NOWHERE[name])
    headers = {name: value for name, value in answer.headers.items() if name not in OF_ONE_ANSWER}
    return answer.status_code, text, headers


def sent(caller: TestClient, operation: Operation, ids: dict[str, str], query: str = "", body: Any = None) -> Any:
    answer = caller.request(operation.method, operation.path_for(ids) + query, json=body)
    return seen(answer, ids)


def record_of(world: World, owned: dict[str, str]) -> object:
    return world.store.get(owned["job_id"]), world.uploads.get(owned["upload_id"])


def test_every_name_in_a_path_is_known_to_be_somebodys_or_nobodys(callers: Callers) -> None:
    names = {name for operation in operations(callers) for name in re.findall(r"{(\w+)}", operation.path)}
    assert names - OTHERS.keys() == NOWHERE.keys()


@pytest.mark.parametrize("body", [None, {}, {"prompt": "a blue circle", "num_frames": 32, "from_chunk": 1}])
def test_what_is_anothers_is_answered_as_what_does_not_exist(
    callers: Callers, world: World, owned: dict[str, str], body: Any
) -> None:
    before = record_of(world, owned)
    for operation in owned_operations(callers):
        anothers = sent(callers.other, operation, owned, body=body)
        assert anothers == sent(callers.other, operation, NOWHERE, body=body), operation
        assert anothers[0] == 404, operation
    assert record_of(world, owned) == before


def test_a_key_that_only_reads_reads_nothing_of_others(callers: Callers, owned: dict[str, str]) -> None:
    reader = callers.customer(Scope.READ)
    for operation in owned_operations(callers):
        anothers = sent(reader, operation, owned)
        assert anothers == sent(reader, operation, NOWHERE), operation
        assert anothers[0] == (404 if operation.method in {"GET", "HEAD"} else 403), operation


def test_its_own_key_and_the_operators_find_it(callers: Callers, owned: dict[str, str]) -> None:
    for caller in (callers.one, callers.admin):
        for operation in owned_operations(callers):
            if operation.method == "GET" and "delivery_id" not in operation.path:
                answer = caller.get(operation.path_for(owned))
                assert answer.status_code not in {401, 403, 404}, (operation, answer.text)


def test_what_lists_shows_nothing_of_others(callers: Callers, owned: dict[str, str]) -> None:
    for operation in operations(callers):
        if operation.method == "GET" and "{" not in operation.path and operation.path != ENDLESS:
            text = callers.other.get(operation.path).text
            assert not [value for value in owned.values() if value in text], operation


def test_no_wrong_token_opens_anything(callers: Callers, world: World, owned: dict[str, str]) -> None:
    links = {"own": owned["job_id"], "another": submit(callers.one), "revoked": submit(callers.one)}
    tokens = {
        name: path_of(callers.one.get(f"/jobs/{job_id}").json()["links"]["chunks"]).partition("=")[2]
        for name, job_id in links.items()
    }
    callers.one.post(f"/jobs/{links['revoked']}/revoke-links")
    revoked = {**owned, "job_id": links["revoked"]}
    for operation in owned_operations(callers):
        refused = sent(callers.nobody, operation, owned)
        assert refused[0] == 401, operation
        for ids, token in ((owned, tokens["another"]), (owned, "x"), (revoked, tokens["revoked"])):
            assert sent(callers.nobody, operation, ids, f"?token={token}") == refused, operation
    world.clock.advance(2 * DAY)
    for operation in owned_operations(callers):
        status, *_ = sent(callers.nobody, operation, owned, f"?token={tokens['own']}")
        assert status in {401, 403}, operation


def test_a_token_reads_what_players_need_and_nothing_else(
    callers: Callers, world: World, owned: dict[str, str]
) -> None:
    before = record_of(world, owned)
    token = path_of(callers.one.get(f"/jobs/{owned['job_id']}").json()["links"]["chunks"]).partition("=")[2]
    opened = {
        operation.path
        for operation in owned_operations(callers)
        if sent(callers.nobody, operation, owned, f"?token={token}")[0] not in {401, 403}
    }
    media = ("chunks", "chunks/{index}.mp4", "playlist.m3u8", "thumbnail.jpg", "video", "video.mp4")
    assert opened == {f"/jobs/{{job_id}}/{name}" for name in (*media, "events", "metrics")}
    assert record_of(world, owned) == before
