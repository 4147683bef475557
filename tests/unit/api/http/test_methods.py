"""HEAD wherever GET is, OPTIONS on every path, and the right Allow."""

from collections.abc import Sequence

import pytest
from fastapi.testclient import TestClient

from core.service.domain.schema import JobEvent
from core.service.testing.event_log import FakeEventLog
from tests.helpers.api_world import World, submit

PAGES = ("/", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/problems/invalid_field", "/favicon.ico")


def paths_of_a_finished_job(api: TestClient, world: World) -> list[str]:
    job_id = submit(api, num_frames=16)
    world.finish(job_id)
    # Videos are not here: their HEAD has a route of its own (test_media.py).
    of_job = [f"/jobs/{job_id}{rest}" for rest in ("", "/chunks", "/playlist.m3u8", "/events")]
    return [*PAGES, *of_job, "/jobs", "/models", "/healthz", "/readyz"]


def test_head_is_answered_as_get_without_the_body(api: TestClient, world: World) -> None:
    for path in paths_of_a_finished_job(api, world):
        get, head = (api.request(method, path, headers={"X-Request-Id": "a"}) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert dict(head.headers) == dict(get.headers), path


def test_head_has_the_length_that_get_has(api: TestClient) -> None:
    job_id = submit(api)
    head = api.head(f"/jobs/{job_id}")
    assert int(head.headers["content-length"]) == len(api.get(f"/jobs/{job_id}").content) > 0
    assert api.head(f"/jobs/{job_id}", headers={"If-None-Match": head.headers["etag"]}).status_code == 304


def test_head_of_what_is_not_there_is_404(api: TestClient) -> None:
    for path in ("/jobs/job_nobody", "/nowhere"):
        head = api.head(path)
        assert (head.status_code, head.content) == (404, b"")
        assert head.headers["content-type"] == "application/problem+json"


class CountingLog(FakeEventLog):
    """Notes how often a log is read: a stream begins with that."""

    num_reads = 0

    def read(self, job_id: str, after: str = "0-0", limit: int = 1000) -> Sequence[JobEvent]:
        self.num_reads += 1
        return super().read(job_id, after, limit)


def test_head_of_an_event_stream_opens_no_stream(world: World) -> None:
    log = world.events = CountingLog(world.store)
    with world.client() as api:
        head = api.head(f"/jobs/{submit(api)}/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")
    assert log.num_reads == 0


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/jobs", "GET, HEAD, OPTIONS, POST"),
        ("/jobs/job_nobody", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/jobs/job_nobody/events", "GET, HEAD, OPTIONS"),
        ("/jobs/job_nobody/playlist.m3u8", "GET, HEAD, OPTIONS"),
        ("/jobs/job_nobody/cancel", "OPTIONS, POST"),
        ("/uploads", "OPTIONS, POST"),
        ("/docs", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_405_name_every_method_of_a_path(api: TestClient, path: str, allowed: str) -> None:
    options, refused = api.options(path), api.request("BREW", path)
    assert (options.status_code, options.content, options.headers["allow"]) == (204, b"", allowed)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert refused.json()["fix"] == f"use {allowed}"


def test_options_of_what_is_not_there_is_404(api: TestClient) -> None:
    assert api.options("/nowhere").status_code == 404


@pytest.mark.parametrize("path", ["/jobs/", "/models/", "/docs/"])
def test_a_slash_too_much_leads_to_the_path_without_it_and_to_no_host(api: TestClient, path: str) -> None:
    answer = api.get(f"{path}?limit=2")
    assert (answer.status_code, answer.headers["location"]) == (307, f"{path[:-1]}?limit=2")
    assert api.post("/jobs/").status_code == 307


@pytest.mark.parametrize("path", ["//jobs", "//evil.example/", "/jobs//", "/jobs/a%2Fb", "/jobs/..%2f..%2fx", "/%00"])
def test_odd_paths_lead_nowhere(api: TestClient, path: str) -> None:
    assert api.get(f"http://testserver{path}").status_code == 404


def test_the_openapi_document_has_no_word_of_head_or_options(api: TestClient) -> None:
    methods = {method for operations in api.get("/openapi.json").json()["paths"].values() for method in operations}
    assert methods == {"get", "post", "put", "patch", "delete"}
