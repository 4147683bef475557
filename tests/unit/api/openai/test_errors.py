"""Every error under /v1 has OpenAI's form, whoever answers it; elsewhere none has."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.http.problems import Problem
from api.openai.errors import error_of
from tests.helpers.api_world import BASE_URL, World


def test_an_error_names_what_is_wrong_and_the_fix() -> None:
    problem = Problem(type="", title="", status=422, detail="too long.", code="a_code", field="prompt", fix="cut it")
    assert error_of(problem).model_dump() == {
        "error": {"message": "too long; cut it", "type": "invalid_request_error", "param": "prompt", "code": "a_code"}
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_the_type_follows_the_status(status: int, kind: str) -> None:
    error = error_of(Problem(type="", title="", status=status, detail="a", code="b")).error
    assert (error.type, error.message, error.param) == (kind, "a", None)


@pytest.mark.parametrize(("field", "param"), [("image", "input_reference"), ("refine.size", "size"), ("seed", "seed")])
def test_fields_have_their_names_of_this_api(field: str, param: str) -> None:
    problem = Problem(type="", title="", status=422, detail="a", code="b", field=field)
    assert error_of(problem).error.param == param


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("PUT", "/v1/videos", 405, "method_not_allowed"),
        ("GET", "/v1/videos/job_none", 404, "job_not_found"),
        ("GET", "/v1/models/none", 404, "unknown_model"),
    ],
)
def test_errors_of_all_kinds_have_the_form(api: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = api.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json()["error"]["code"] == code
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["x-request-id"]


def test_headers_of_an_error_stay(api: TestClient, world: World) -> None:
    world.storage.broken = True
    answer = api.post("/v1/videos", json={"prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert answer.headers["retry-after"] == "5"
    assert api.put("/v1/videos").headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_a_host_that_is_refused_is_told_in_the_same_form(api: TestClient) -> None:
    answer = api.get("/v1/models", headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "host_not_allowed")


def test_a_bug_is_a_server_error_without_details(world: World) -> None:
    def fail(**_kwargs: object) -> Any:
        raise RuntimeError("secret")

    world.store.list = fail  # pyright: ignore[reportAttributeAccessIssue] - the test's own fake
    with world.client() as api:
        answer = api.get("/v1/videos")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


def test_the_head_of_an_error_has_no_body(api: TestClient) -> None:
    answer = api.head("/v1/videos/job_none")
    assert (answer.status_code, answer.content) == (404, b"")
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("path", ["/jobs/job_none", "/v2/videos", "/v1"])
def test_other_paths_keep_their_problems(api: TestClient, path: str) -> None:
    assert api.get(path).headers["content-type"] == "application/problem+json"


def test_errors_under_a_prefix_have_the_form_too(world: World) -> None:
    settings = world.settings.model_copy(update={"trusted_proxies": "127.0.0.1"})
    with TestClient(create_app(settings, world.ports()), base_url=BASE_URL, client=("127.0.0.1", 1)) as api:
        answer = api.get("/v1/nothing", headers={"X-Forwarded-Prefix": "/video"})
    assert answer.json()["error"]["code"] == "not_found"
