"""Every route asks for a key, gives nothing away without one, and does no more than the key's scope."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.app import create_app
from api.http.protection import scope_of, takes_link_token
from core.service.domain.api_keys import ApiKey, Scope, new_key
from core.service.domain.errors import StoreUnavailable
from core.service.settings import Settings
from core.service.testing.api_keys import FakeApiKeys
from tests.helpers.api_world import ENDLESS, World, submit
from tests.helpers.customers import ADMIN_KEY, bearer, customer, with_keys

PARAMETERS = {"job_id": "job_none", "upload_id": "upl_none", "key_id": "key_none", "index": "0"}
OPEN = {"GET /healthz", "GET /readyz"}
OPEN_PAGES = ("/", "/favicon.ico", "/healthz", "/readyz", "/docs", "/docs/swagger-ui.css", "/openapi.json")


def operations() -> list[tuple[str, str]]:
    """(method, path) of every operation in the OpenAPI document, HEAD where GET is."""
    paths: dict[str, dict[str, Any]] = create_app(Settings()).openapi()["paths"]
    found = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    return [*found, *(("HEAD", path) for method, path in found if method == "GET")]


PROTECTED = [pair for pair in operations() if " ".join(pair).replace("HEAD", "GET") not in OPEN]


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    with world.client(with_keys(world.settings)) as client:
        yield client


def send(api: TestClient, method: str, path: str, headers: dict[str, str] | None = None) -> Any:
    body: dict[str, str] | None = {} if method in {"POST", "PUT", "PATCH"} else None
    return api.request(method, path.format_map(Missing(PARAMETERS)), headers=headers, json=body)


def code_of(answer: Any) -> str:
    """The code of a problem, or of an error in OpenAI's form."""
    body = answer.json()
    return str(body.get("error", body)["code"])


class Missing(dict[str, str]):
    """Parameters of paths; those of routes that are not known here are `none`."""

    def __missing__(self, name: str) -> str:
        return "none"


def refused_credentials(world: World) -> dict[str, dict[str, str]]:
    """Headers that carry no valid key, by what is wrong with them."""
    valid, revoked = customer(world.keys), customer(world.keys, is_revoked=True)
    wrong = valid.text[:-1] + ("a" if valid.text[-1] != "a" else "b")
    return {
        "none": {},
        "empty": {"Authorization": ""},
        "no text": {"Authorization": "Bearer"},
        "another scheme": {"Authorization": f"Basic {valid.text}"},
        "no scheme": {"Authorization": valid.text},
        "two": {"Authorization": f"Bearer {valid.text}, Bearer {valid.text}"},
        "malformed": bearer("lt_short"),
        "unknown": bearer(new_key().text),
        "wrong": bearer(wrong),
        "revoked": bearer(revoked.text),
        "nearly the operator's": bearer(ADMIN_KEY[:-1]),
    }


def test_a_key_is_needed_on_every_route_and_every_refusal_is_the_same(api: TestClient, world: World) -> None:
    headers = refused_credentials(world)
    assert len(PROTECTED) > 40
    for method, path in PROTECTED:
        answers = [send(api, method, path, sent) for sent in headers.values()]
        assert {answer.status_code for answer in answers} == {401}, (method, path)
        assert {answer.headers["WWW-Authenticate"] for answer in answers} == {'Bearer realm="longtake"'}
        assert len({answer.content for answer in answers}) == 1, (method, path)
        assert all(code_of(answer) == "key_refused" for answer in answers if method != "HEAD")


def test_two_authorization_headers_are_refused(api: TestClient, world: World) -> None:
    text = customer(world.keys).text
    both = [("Authorization", f"Bearer {text}")] * 2
    assert api.get("/jobs", headers=both).status_code == 401


def test_a_header_that_is_not_ascii_is_refused(api: TestClient) -> None:
    assert api.get("/jobs", headers=[(b"authorization", "Bearer lt_ü".encode())]).status_code == 401


@pytest.mark.parametrize("scope", [Scope.READ, Scope.JOBS])
def test_a_scope_that_does_not_suffice_is_refused_on_every_route(api: TestClient, world: World, scope: Scope) -> None:
    key = customer(world.keys, scope)
    for method, path in PROTECTED:
        if path == ENDLESS:
            continue
        answer = send(api, method, path, bearer(key.text))
        of_method = Scope.READ if method in {"GET", "HEAD"} else Scope.JOBS
        needed = Scope.ADMIN if path.startswith(("/keys", "/status")) else of_method
        may = needed is Scope.READ or needed is scope
        assert (answer.status_code == 403) != may, (method, path)
        if not may and method != "HEAD":
            assert code_of(answer) == "scope_missing"
            assert answer.text.count(f"scope {needed}") == 1


@pytest.mark.parametrize("path", OPEN_PAGES)
def test_pages_and_health_checks_need_no_key(api: TestClient, path: str) -> None:
    assert api.get(path).status_code < 400


def test_pages_of_problems_need_no_key(api: TestClient) -> None:
    refusal = api.get("/jobs").json()
    assert api.get(refusal["type"]).text.startswith("key_refused (HTTP 401)")


def test_a_path_that_does_not_exist_needs_a_key_too(api: TestClient, world: World) -> None:
    assert api.get("/nothing").status_code == 401
    assert api.get("/nothing", headers=bearer(customer(world.keys).text)).status_code == 404


def test_preflights_need_no_key(api: TestClient) -> None:
    assert api.options("/jobs").status_code == 204


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER  {}"])
def test_the_scheme_may_be_written_in_any_case(api: TestClient, world: World, header: str) -> None:
    text = customer(world.keys).text
    assert api.get("/jobs", headers={"Authorization": header.format(text)}).status_code == 200


def test_the_operators_key_may_everything(api: TestClient) -> None:
    job_id = api.post("/jobs", json={"prompt": "a red circle"}, headers=bearer(ADMIN_KEY)).json()["id"]
    assert api.get(f"/jobs/{job_id}", headers=bearer(ADMIN_KEY)).status_code == 200
    assert api.get("/keys", headers=bearer(ADMIN_KEY)).json() == {"keys": []}
    own = api.get("/key", headers=bearer(ADMIN_KEY)).json()
    assert (own["id"], own["scope"]) == ("admin", "admin")


def test_a_key_of_the_scope_admin_may_manage_keys(api: TestClient, world: World) -> None:
    assert api.get("/keys", headers=bearer(customer(world.keys, Scope.ADMIN).text)).status_code == 200


def test_without_the_operators_key_nobody_needs_one(world: World) -> None:
    with world.client() as api:
        job_id = submit(api)
        assert api.get(f"/jobs/{job_id}", headers=bearer("anything")).status_code == 200
        assert {api.get(path).json()["code"] for path in ("/keys", "/key")} == {"keys_not_used"}
        assert api.post("/keys", json={"name": "a"}).status_code == 409, "it would be valid once keys are used"


def test_a_key_that_is_revoked_elsewhere_is_refused_a_second_later(api: TestClient, world: World) -> None:
    key = customer(world.keys)
    assert api.get("/jobs", headers=bearer(key.text)).status_code == 200
    world.keys.change(key.id, lambda stored: stored.model_copy(update={"revoked_at": world.clock.now()}))
    world.clock.advance(1)
    assert api.get("/jobs", headers=bearer(key.text)).status_code == 401


class KeysAway(FakeApiKeys):
    """A store that does not answer."""

    def find(self, key_ids: Sequence[str]) -> Sequence[ApiKey | None]:
        raise StoreUnavailable(f"Redis is away: {key_ids}")


def test_a_store_that_is_away_lets_nobody_in_but_the_operator(world: World) -> None:
    world.keys = KeysAway()
    with world.client(with_keys(world.settings)) as api:
        answer = api.get("/models", headers=bearer(new_key().text))
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.headers["Retry-After"]
        assert api.get("/models", headers=bearer(ADMIN_KEY)).status_code == 200


def test_refusals_can_be_read_by_pages_of_allowed_origins(world: World) -> None:
    settings = with_keys(world.settings).model_copy(update={"cors_origins": "https://app.example"})
    with world.client(settings) as api:
        answer = api.get("/jobs", headers={"Origin": "https://app.example"})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("method", "path", "takes"),
    [
        ("GET", "/jobs/a/video.mp4", True),
        ("HEAD", "/jobs/a/chunks/0.mp4", True),
        ("GET", "/jobs/a/events", True),
        ("GET", "/jobs/a", False),
        ("GET", "/jobs", False),
        ("POST", "/jobs/a/events", False),
        ("GET", "/uploads/a", False),
        ("GET", "/jobs/a/video.mp4/more", False),
    ],
)
def test_tokens_of_links_are_for_reading_media_and_events_of_a_job(method: str, path: str, takes: bool) -> None:
    assert takes_link_token(method, path) is takes


@pytest.mark.parametrize("path", ["/healthz/", "/docsx", "/problems/a/b", "/openapi.json/"])
def test_only_the_very_paths_are_open(path: str) -> None:
    assert scope_of("GET", path) is Scope.READ


def test_writing_to_an_open_path_needs_a_key() -> None:
    assert scope_of("POST", "/healthz") is Scope.JOBS
    assert scope_of("DELETE", "/keys/key_a") is Scope.ADMIN
    assert scope_of("GET", "/keys") is Scope.ADMIN


@pytest.mark.parametrize("path", ["/keys/", "/keys\n", "/keys;x", "/keysx", "/keys//", "/keys/a\n"])
def test_what_begins_like_a_path_of_keys_is_one(path: str) -> None:
    assert {scope_of(method, path) for method in ("GET", "HEAD", "POST", "DELETE")} == {Scope.ADMIN}


def test_an_operators_key_is_long_and_never_in_the_sentence_that_refuses_it() -> None:
    with pytest.raises(ValueError, match="32") as raised:
        Settings(admin_key=SecretStr("short secret"))
    assert "short secret" not in str(raised.value)
