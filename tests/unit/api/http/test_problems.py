"""Every error is a problem document with a stable code, and none reveals internals."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.http.problems import KINDS, Problem, documented_errors
from api.http.responses import MAX_BODY_BYTES
from core.service.domain.errors import StoreError
from core.service.domain.schema import JobRecord
from core.service.testing.job_store import FakeJobStore
from tests.helpers.api_world import PROMPT, World, submit

JSON = {"Content-Type": "application/json"}


def problem(answer: Any, status: int, code: str) -> Problem:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    document = Problem.model_validate(answer.json())
    assert (document.status, document.code, document.type) == (status, code, f"/problems/{code}")
    assert document.title
    return document


def test_a_wrong_field_is_named_with_its_fix(api: TestClient) -> None:
    found = problem(api.post("/jobs", json={"prompt": PROMPT, "num_frames": 8}), 422, "too_few_frames")
    assert found.field == "num_frames"
    assert "at least 16" in str(found.fix)


def test_all_errors_of_a_request_are_listed(api: TestClient) -> None:
    found = problem(api.post("/jobs", json={"promt": PROMPT, "fps": 0}), 422, "unknown_field")
    assert [(error.code, error.field) for error in found.errors] == [
        ("unknown_field", "promt"),
        ("invalid_field", "prompt"),
        ("invalid_field", "fps"),
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"prompt": NaN}', b'{"seconds": Infinity}', b"\xff\xfe\xfd", b"[" * 20000, b"1" * 5000, b"{'a': 1}"],
)
def test_what_is_not_json_is_refused_as_such(api: TestClient, body: bytes) -> None:
    assert problem(api.post("/jobs", content=body, headers=JSON), 400, "malformed_json").fix


def test_a_syntax_error_is_located(api: TestClient) -> None:
    found = problem(api.post("/jobs", content=b'{"prompt": "x"\n"y"}', headers=JSON), 400, "malformed_json")
    assert "line 2" in found.detail


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}]
)
def test_a_body_must_be_declared_as_json(api: TestClient, headers: dict[str, str]) -> None:
    answer = api.post("/jobs", content=json.dumps({"prompt": PROMPT}).encode(), headers=headers)
    assert "application/json" in str(problem(answer, 415, "unsupported_media_type").fix)


def test_json_with_a_charset_is_json(api: TestClient) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert api.post("/jobs", content=json.dumps({"prompt": PROMPT}).encode(), headers=headers).status_code == 202


def test_bodies_over_the_limit_are_refused(api: TestClient) -> None:
    body = b'{"prompt": "' + b"a" * MAX_BODY_BYTES + b'"}'
    problem(api.post("/jobs", content=body, headers=JSON), 413, "body_too_large")


def test_lone_surrogates_come_back_as_a_problem(api: TestClient) -> None:
    answer = api.post("/jobs", content=b'{"prompt": "x", "\\ud800": "\\udfff"}', headers=JSON)
    problem(answer, 422, "unknown_field")


def test_webhooks_into_the_operators_network_are_refused(api: TestClient) -> None:
    answer = api.post("/jobs", json={"prompt": PROMPT, "webhook_url": "http://redis.internal:8080/"})
    assert problem(answer, 422, "webhook_url_refused").field == "webhook_url"


def test_a_host_that_does_not_resolve_is_answered_as_one_that_is_private(api: TestClient) -> None:
    """Otherwise responses would reveal host names of the operator's network."""

    def answer(field: str, host: str) -> str:
        return api.post("/jobs", json={"prompt": PROMPT, field: f"http://{host}/"}).text.replace(host, "HOST")

    for field in ("webhook_url", "video"):
        assert answer(field, "db.internal") == answer(field, "db.nowhere")
        assert "refused" in answer(field, "db.internal")


def test_a_port_that_no_web_server_has_is_refused(api: TestClient) -> None:
    answer = api.post("/jobs", json={"prompt": PROMPT, "webhook_url": "http://example.com:6379/"})
    assert "port 6379" in problem(answer, 422, "webhook_url_refused").detail


@pytest.mark.parametrize("path", ["", "/chunks", "/playlist.m3u8", "/video", "/events"])
def test_an_unknown_job_is_not_found_anywhere(api: TestClient, path: str) -> None:
    problem(api.get(f"/jobs/job_nobody{path}"), 404, "job_not_found")


def test_an_unknown_job_cannot_be_canceled_or_deleted(api: TestClient) -> None:
    problem(api.post("/jobs/job_nobody/cancel"), 404, "job_not_found")
    problem(api.delete("/jobs/job_nobody"), 404, "job_not_found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("status=done", "status"),
        ("cursor=abc", "cursor"),
        ("cursor=%ff", "cursor"),
    ],
)
def test_bad_list_parameters_are_named(api: TestClient, query: str, field: str) -> None:
    found = problem(api.get(f"/jobs?{query}"), 422, "invalid_field")
    assert found.field == field
    assert found.fix


@pytest.mark.parametrize("after", ["x", "-2", "1.5"])
def test_a_bad_chunk_index_is_named(api: TestClient, after: str) -> None:
    job_id = submit(api)
    assert problem(api.get(f"/jobs/{job_id}/chunks?after={after}"), 422, "invalid_field").field == "after"


def test_unknown_paths_and_wrong_methods(api: TestClient) -> None:
    problem(api.get("/job"), 404, "not_found")
    answer = api.put("/jobs")
    assert "POST" in str(problem(answer, 405, "method_not_allowed").fix)
    assert "POST" in answer.headers["allow"]


class UnreachableStore(FakeJobStore):
    """Redis is away."""

    def get(self, job_id: str) -> JobRecord:
        raise StoreError(f"Redis at 10.1.2.3:6379 does not answer about {job_id}")


class BrokenStore(FakeJobStore):
    """Has a bug."""

    def get(self, job_id: str) -> JobRecord:
        raise RuntimeError(f"secret of {job_id}")


def test_an_unreachable_store_is_a_503_without_inner_addresses(world: World) -> None:
    world.store = UnreachableStore(world.clock)
    with world.client() as api:
        answer = api.get("/jobs/job_a")
    problem(answer, 503, "store_error")
    assert "10.1.2.3" not in answer.text
    assert "retry-after" in answer.headers


def test_a_bug_is_a_500_without_details(world: World) -> None:
    world.store = BrokenStore(world.clock)
    with world.client() as api:
        answer = api.get("/jobs/job_a")
    problem(answer, 500, "internal_error")
    assert "secret" not in answer.text


def test_a_broken_preset_is_a_503_without_paths(world: World, api: TestClient) -> None:
    (world.settings.presets_dir / "fake" / "preset.json").unlink()
    answer = api.post("/jobs", json={"prompt": PROMPT})
    problem(answer, 503, "preset_unusable")
    assert str(world.settings.presets_dir) not in answer.text


def test_the_type_of_every_problem_is_a_page(api: TestClient) -> None:
    pages = {code: api.get(f"/problems/{code}") for code in documented_errors()}
    assert {page.status_code for page in pages.values()} == {200}
    assert all(page.text.startswith(f"{code} (HTTP ") for code, page in pages.items())


def test_every_answered_error_has_a_code_of_its_own() -> None:
    documented = documented_errors()
    assert {error.code for error in KINDS} <= set(documented)
    assert "stale_lease" not in documented


def test_there_is_no_page_for_a_problem_that_does_not_exist(api: TestClient) -> None:
    problem(api.get("/problems/nonsense"), 404, "not_found")
