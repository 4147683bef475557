"""Keys are created, read, changed, rotated and revoked; their texts and secrets are shown once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.api_keys import MAX_LIMIT
from tests.helpers.api_world import BASE_URL, World
from tests.helpers.customers import ADMIN_KEY, bearer, with_keys


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client(with_keys(world.settings)) as client:
        client.headers.update(bearer(ADMIN_KEY))
        yield client


def create(api: TestClient, **fields: Any) -> dict[str, Any]:
    answer = api.post("/keys", json={"name": "Example Ltd", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def works(api: TestClient, text: str) -> bool:
    status = api.get("/jobs", headers=bearer(text)).status_code
    assert status in {200, 401}
    return status == 200


def test_a_new_key_works_and_its_text_is_shown_once(api: TestClient) -> None:
    answer = api.post("/keys", json={"name": "Example Ltd", "limits": {"frames": 480}})
    made = answer.json()
    assert answer.headers["Location"] == f"{BASE_URL}/keys/{made['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert made["key"].startswith("lt_")
    assert made["webhook_secret"].startswith("whsec_")
    assert works(api, made["key"])
    read, listed = api.get(f"/keys/{made['id']}"), api.get("/keys")
    unused = {"unfinished_jobs": 0, "frames_today": 0, "stored_bytes": 0, "complete": True}
    assert [{**key, "usage": unused} for key in listed.json()["keys"]] == [read.json()]
    for text in (read.text, listed.text):
        assert made["key"] not in text
        assert made["webhook_secret"] not in text
        assert "sha256" not in text


def test_the_url_of_a_new_key_is_the_one_that_clients_see(world: World) -> None:
    settings = with_keys(world.settings).model_copy(update={"public_base_url": "https://video.example/api/"})
    with world.client(settings) as api:
        answer = api.post("/keys", json={"name": "Example Ltd"}, headers=bearer(ADMIN_KEY))
    assert answer.headers["Location"] == f"https://video.example/api/keys/{answer.json()['id']}"


def test_a_key_has_what_was_asked_for(api: TestClient) -> None:
    made = create(api, scope="read", limits={"requests_per_minute": 60})
    shown = api.get(f"/keys/{made['id']}").json()
    assert (shown["name"], shown["scope"], shown["revoked_at"]) == ("Example Ltd", "read", None)
    assert {name: value for name, value in shown["limits"].items() if value is not None} == {"requests_per_minute": 60}
    own = api.get("/key", headers=bearer(made["key"])).json()
    assert own == {name: shown[name] for name in own}
    assert {"id", "name", "scope", "limits"} <= own.keys()
    assert create(api)["scope"] == "jobs"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a" * 201}, "name"),
        ({"name": 3}, "name"),
        ({"name": "Example\x07Ltd"}, "name"),
        ({"name": "Example\u202eLtd"}, "name"),
        ({"name": "a", "scope": "root"}, "scope"),
        ({"name": "a", "color": "red"}, "color"),
        ({"name": "a", "limits": {"frames": 15}}, "limits.frames"),
        ({"name": "a", "limits": {"frames": "480"}}, "limits.frames"),
        ({"name": "a", "limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
        ({"name": "a", "limits": {"stored_bytes": MAX_LIMIT + 1}}, "limits.stored_bytes"),
        ({"name": "a", "limits": {"framez": 480}}, "limits.framez"),
        ({"name": "a", "limits": None}, "limits"),
    ],
)
def test_what_a_key_cannot_be_is_refused_by_name(api: TestClient, body: dict[str, Any], field: str) -> None:
    answer = api.post("/keys", json=body)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert answer.json()["fix"]
    assert api.get("/keys").json() == {"keys": []}


def test_a_change_keeps_what_is_not_given(api: TestClient) -> None:
    made = create(api, limits={"requests_per_minute": 60, "frames": 480})
    changed = api.patch(f"/keys/{made['id']}", json={"limits": {"requests_per_minute": 120, "frames": None}}).json()
    assert (changed["name"], changed["scope"]) == ("Example Ltd", "jobs")
    assert changed["limits"]["requests_per_minute"] == 120
    assert changed["limits"]["frames"] is None
    changed = api.patch(f"/keys/{made['id']}", json={"name": "Other Ltd", "scope": "read"}).json()
    assert (changed["name"], changed["scope"]) == ("Other Ltd", "read")
    assert changed["limits"]["requests_per_minute"] == 120
    assert api.post("/jobs", json={"prompt": "a"}, headers=bearer(made["key"])).status_code == 403, "it acts at once"


@pytest.mark.parametrize("text", ["Other\x1b[2JLtd", "Other\u2066Ltd"])
def test_a_new_name_has_no_characters_that_deceive(api: TestClient, text: str) -> None:
    made = create(api)
    answer = api.patch(f"/keys/{made['id']}", json={"name": text})
    assert (answer.status_code, answer.json()["field"]) == (422, "name")
    assert api.get(f"/keys/{made['id']}").json()["name"] == "Example Ltd"


@pytest.mark.parametrize("field", ["name", "scope", "limits"])
def test_null_is_no_change_and_is_refused_by_name(api: TestClient, field: str) -> None:
    made = create(api)
    answer = api.patch(f"/keys/{made['id']}", json={"name": "Other Ltd", field: None})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["fix"]
    assert api.get(f"/keys/{made['id']}").json()["name"] == "Example Ltd"


def test_a_change_of_nothing_is_refused(api: TestClient) -> None:
    made = create(api)
    answer = api.patch(f"/keys/{made['id']}", json={})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


def test_a_revoked_key_is_refused_stays_in_the_list_and_cannot_be_changed(api: TestClient, world: World) -> None:
    made = create(api)
    assert works(api, made["key"])
    assert [api.delete(f"/keys/{made['id']}").status_code for _ in range(2)] == [204, 204]
    assert not works(api, made["key"])
    world.clock.advance(60)
    (shown,) = api.get("/keys").json()["keys"]
    assert shown["revoked_at"] == "2026-01-01T00:00:00Z", "the second request changed nothing"
    for method, path in (("PATCH", ""), ("POST", "/rotate"), ("POST", "/rotate-webhook-secret")):
        body = {"name": "Other Ltd"} if method == "PATCH" else {}
        answer = api.request(method, f"/keys/{made['id']}{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "key_revoked")


def test_while_a_key_is_rotated_both_texts_work(api: TestClient, world: World) -> None:
    made = create(api)
    answer = api.post(f"/keys/{made['id']}/rotate", json={"grace_seconds": 60})
    assert answer.headers["Cache-Control"] == "no-store"
    rotated = answer.json()
    assert rotated["id"] == made["id"]
    assert "webhook_secret" not in rotated
    assert rotated["old_key_valid_until"] == "2026-01-01T00:01:00Z"
    assert works(api, made["key"])
    assert works(api, rotated["key"])
    world.clock.advance(60)
    assert not works(api, made["key"])
    assert works(api, rotated["key"])
    assert api.get(f"/keys/{made['id']}").json()["old_key_valid_until"] is None


def test_a_key_that_leaked_is_rotated_at_once(api: TestClient) -> None:
    made = create(api)
    rotated = api.post(f"/keys/{made['id']}/rotate", json={"grace_seconds": 0}).json()
    assert not works(api, made["key"])
    assert works(api, rotated["key"])


def test_a_webhook_secret_is_rotated_with_two_signatures(api: TestClient, world: World) -> None:
    made = create(api)
    rotated = api.post(f"/keys/{made['id']}/rotate-webhook-secret", json={"grace_seconds": 60}).json()
    assert "key" not in rotated
    assert rotated["webhook_secret"] != made["webhook_secret"]
    stored = world.keys.get(made["id"])
    assert stored.webhook_secrets(world.clock.now()) == (rotated["webhook_secret"], made["webhook_secret"])
    world.clock.advance(60)
    assert stored.webhook_secrets(world.clock.now()) == (rotated["webhook_secret"],)
    assert works(api, made["key"])


@pytest.mark.parametrize("seconds", [-1, 2_592_001, "60", 1.5])
def test_a_grace_that_is_no_time_is_refused(api: TestClient, seconds: object) -> None:
    made = create(api)
    for path in ("rotate", "rotate-webhook-secret"):
        answer = api.post(f"/keys/{made['id']}/{path}", json={"grace_seconds": seconds})
        assert (answer.status_code, answer.json()["field"]) == (422, "grace_seconds")


@pytest.mark.parametrize("key_id", ["key_none", "admin", "lt_" + "a" * 16])
def test_a_key_that_does_not_exist_is_told(api: TestClient, key_id: str) -> None:
    requests = [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/rotate-webhook-secret")]
    for method, path in requests:
        body: dict[str, str] | None = {"PATCH": {"name": "a"}, "POST": {}}.get(method)
        answer = api.request(method, f"/keys/{key_id}{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "key_not_found")
