"""A path needs what its route needs, however it is written: encoded, doubled, with something at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.http.protection import scope_of
from core.service.domain.api_keys import Scope
from tests.helpers.api_world import World, submit
from tests.helpers.bare_requests import BareRequest, statuses
from tests.helpers.callers import Callers, path_of
from tests.helpers.customers import bearer, customer

ODD = (
    "{}%0A",
    "{}%0D",
    "{}%0D%0A",
    "{}%00",
    "{}%09",
    "{}%7F",
    "{}%20",
    "{}%2F",
    "{}/",
    "/{}",
    "{};x",
    "{}%3Bx",
    "{}%3F",
)
PARAMETERS = {"upload_id": "upl_none", "ping_id": "ping_none", "key_id": "key_none", "delivery_id": "msg_none"}


@pytest.fixture
def job_id(callers: Callers, world: World) -> str:
    """An ended job of `callers.one`."""
    made = submit(callers.one, num_frames=16)
    world.finish(made)
    return made


def operations(api: TestClient, job_id: str) -> Iterator[tuple[str, str]]:
    """(method, path) of every operation of the OpenAPI document, and HEAD where GET is."""
    names = {**PARAMETERS, "job_id": job_id, "index": "0", "model": "fake"}
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        for method in (*methods, *(["head"] if "get" in methods else [])):
            yield method.upper(), path.format(**names)


def odd_operations(api: TestClient, job_id: str) -> list[tuple[str, str, str]]:
    """(method, path, odd path)."""
    found = [(method, path, odd.format(path)) for method, path in operations(api, job_id) for odd in ODD]
    assert len(found) > 50 * len(ODD)
    return found


def sent(callers: Callers, requests: Iterable[tuple[str, str]], text: str | None = None) -> list[int]:
    """The statuses of the answers to (method, path): of nobody, or with a key."""
    headers = bearer(text) if text else {}
    body, with_body = b'{"name": "mine", "scope": "admin"}', {"POST", "PUT", "PATCH"}
    bare = [BareRequest(method, path, headers, body if method in with_body else b"") for method, path in requests]
    return statuses(callers.app, bare)


def test_without_a_key_nothing_opens(callers: Callers, job_id: str) -> None:
    tried = [(method, odd) for method, _, odd in odd_operations(callers.nobody, job_id)]
    answers = zip(tried, sent(callers, tried), strict=True)
    assert [request for request, status in answers if status != 401] == []
    for page in ("/", "/favicon.ico", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/problems/key_refused"):
        assert {*sent(callers, [("GET", odd.format(page)) for odd in ODD])} <= {401, 404}, page


@pytest.mark.parametrize("scope", [Scope.READ, Scope.JOBS])
def test_a_key_opens_no_more_than_its_scope_has(callers: Callers, world: World, job_id: str, scope: Scope) -> None:
    text = customer(world.keys, scope).text
    keys = world.keys.list()
    tried = odd_operations(callers.nobody, job_id)
    answers = sent(callers, [(method, odd) for method, _, odd in tried], text)
    for (method, path, odd), status in zip(tried, answers, strict=True):
        needed = scope_of(method, path)
        if needed is Scope.ADMIN:
            assert status in {403, 404}, (method, odd)
        elif needed is Scope.JOBS and scope is Scope.READ:
            assert status == 403, (method, odd)
    assert world.keys.list() == keys


def test_a_link_opens_nothing_else(callers: Callers, job_id: str) -> None:
    video = path_of(callers.one.get(f"/jobs/{job_id}").json()["links"]["video"])
    token = video.partition("?")[2]
    tried = [(method, f"{odd}?{token}") for method, _, odd in odd_operations(callers.nobody, job_id)]
    answers = zip(tried, sent(callers, tried), strict=True)
    assert [request for request, status in answers if status not in {401, 404}] == []


@pytest.mark.parametrize("character", ["%00", "%09", "%0A", "%0D", "%1B", "%7F"])
def test_there_is_nothing_at_a_path_with_a_control_character(world: World, character: str) -> None:
    with world.client() as api:
        for path in (f"/models{character}", f"/jobs/a{character}b", f"/{character}", f"/v1/models{character}"):
            answer = api.get(path)
            assert (answer.status_code, code_of(answer)) == (404, "not_found")
            assert answer.headers["X-Request-Id"]


def code_of(answer: Any) -> str:
    body = answer.json()
    return str(body.get("error", body)["code"])


# --- where the path was taken for another one: the route itself decides -----------------------------------------------


def always(answer: object) -> Callable[[str, str], object]:
    """A table of paths that says the same of all."""
    return lambda _method, _path: answer


def test_a_route_asks_for_its_scope_itself(
    callers: Callers, world: World, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, text = list(operations(callers.nobody, job_id)), customer(world.keys, Scope.READ).text
    monkeypatch.setattr("api.access.access.scope_of", always(Scope.READ))
    for (method, path), status in zip(found, sent(callers, found, text), strict=True):
        assert (status == 403) == (scope_of(method, path) in {Scope.JOBS, Scope.ADMIN}), (method, path)


def test_a_route_that_is_not_open_asks_for_a_key_itself(
    callers: Callers, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(operations(callers.nobody, job_id))
    monkeypatch.setattr("api.access.access.scope_of", always(None))
    for (method, path), status in zip(found, sent(callers, found), strict=True):
        assert (status == 401) == (scope_of(method, path) is not None), (method, path)


def test_a_route_that_no_link_opens_refuses_a_token_itself(
    callers: Callers, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.access.access.takes_link_token", always(True))
    paths = ("/models", "/jobs", "/key", "/keys", f"/jobs/{job_id}")
    tried = [*(("GET", f"{path}?token=x") for path in paths), ("POST", "/jobs?token=x")]
    assert {*sent(callers, tried)} == {401}
