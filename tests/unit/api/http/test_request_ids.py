"""X-Request-Id on every answer, in the log lines of a request, and in the job that it creates."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.schema import JobRecord
from core.service.testing.job_store import FakeJobStore
from tests.helpers.api_world import PROMPT, World, submit
from tests.helpers.log_records import request_ids_in_log_records, requests_of

OWN = {"X-Request-Id": "trace-7.a_B"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/jobs", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/jobs/", 307),
        ("GET", "/jobs/job_none", 404),
        ("GET", "/jobs?page=1", 422),
        ("HEAD", "/jobs", 200),
        ("OPTIONS", "/jobs", 204),
        ("PUT", "/jobs", 405),
        ("POST", "/jobs", 415),
        ("GET", "/jobs/{job}/playlist.m3u8", 200),
        ("GET", "/jobs/{job}/chunks/0.mp4", 307),
        ("GET", "/jobs/{job}/events", 200),
        ("GET", "/healthz", 200),
        ("GET", "/", 200),
    ],
)
def test_every_answer_has_the_client_s_id_once(
    api: TestClient, world: World, method: str, path: str, status: int
) -> None:
    job_id = submit(api, num_frames=16)
    world.finish(job_id)
    answer = api.request(method, path.format(job=job_id), headers=OWN)
    assert (answer.status_code, answer.headers.get_list("x-request-id")) == (status, ["trace-7.a_B"])


def test_an_invalid_id_is_not_echoed_and_each_request_gets_its_own(api: TestClient) -> None:
    given = "x" * 129
    made = [api.get("/jobs", headers={"X-Request-Id": given}).headers["x-request-id"] for _ in range(2)]
    assert len({*made, given}) == 3


def test_a_foreign_host_name_and_a_bug_are_answered_with_the_id(world: World) -> None:
    world.store = _BrokenStore(world.clock)
    with world.client() as api:
        answers = [api.get("/jobs", headers={**OWN, "Host": "foreign.example"}), api.get("/jobs/job_a", headers=OWN)]
    assert [(one.status_code, one.headers["x-request-id"]) for one in answers] == [
        (421, "trace-7.a_B"),
        (500, "trace-7.a_B"),
    ]


class _BrokenStore(FakeJobStore):
    """Has a bug."""

    def get(self, job_id: str) -> JobRecord:
        raise RuntimeError(job_id)


def test_pages_of_other_origins_can_read_it(world: World) -> None:
    with world.client(world.settings.model_copy(update={"cors_origins": "*"})) as api:
        answer = api.get("/jobs", headers={**OWN, "Origin": "https://app.example"})
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


def test_log_lines_of_a_request_name_it_also_in_threads(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store = _BrokenStore(world.clock)
    with world.client() as api, request_ids_in_log_records():
        api.get("/jobs/job_a", headers=OWN)
    own = [record for record in caplog.records if record.name.startswith("api")]
    assert requests_of(own) == {" [request trace-7.a_B]"}


def test_a_job_keeps_the_id_of_the_request_that_created_it(api: TestClient, world: World) -> None:
    job_id: str = api.post("/jobs", json={"prompt": PROMPT}, headers=OWN).json()["id"]
    assert world.store.get(job_id).request_id == "trace-7.a_B"
    manifest: dict[str, Any] = json.loads(world.storage.objects[f"jobs/{job_id}/manifest.json"])
    assert "trace-7.a_B" in json.dumps(manifest)


def test_the_document_names_the_header(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    answers = [
        answer
        for methods in document["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].values()
    ]
    assert all("X-Request-Id" in answer["headers"] for answer in answers)
