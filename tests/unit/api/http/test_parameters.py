"""Query parameters: unknown ones are refused, except by media and health checks."""

import pytest
from fastapi.testclient import TestClient

from tests.helpers.api_world import World, submit


def test_an_unknown_parameter_is_named_with_the_one_that_was_meant(api: TestClient) -> None:
    answer = api.get("/jobs?limt=5&x=1")
    told = answer.json()
    assert (answer.status_code, told["code"], told["field"]) == (422, "unknown_parameter", "limt")
    assert told["fix"] == "did you mean limit?"
    assert [error["field"] for error in told["errors"]] == ["limt", "x"]
    assert "status, limit, cursor" in told["errors"][1]["fix"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/jobs/job_a"), ("GET", "/models"), ("POST", "/jobs/batch")])
def test_a_route_without_parameters_takes_none(api: TestClient, method: str, path: str) -> None:
    answer = api.request(method, f"{path}?dry_run=true")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_parameter")


def test_a_parameter_given_twice_is_refused(api: TestClient) -> None:
    answer = api.get("/jobs?limit=1&limit=2")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid_field", "limit")


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/readyz", "/problems/not_found"])
def test_pages_and_health_checks_take_what_others_append(api: TestClient, path: str) -> None:
    assert api.get(f"{path}?utm_source=x&ts=1").status_code == 200


def test_media_take_what_players_append(api: TestClient, world: World) -> None:
    job_id = submit(api)
    world.make_chunk(job_id)
    assert api.get(f"/jobs/{job_id}/playlist.m3u8?_HLS_msn=3&token=x&variant=preview").status_code == 200


def test_an_empty_cursor_is_the_first_page(api: TestClient) -> None:
    job_id = submit(api)
    assert [job["id"] for job in api.get("/jobs?cursor=").json()["jobs"]] == [job_id]


@pytest.mark.parametrize("path", ["playlist.m3u8", "video"])
def test_a_variant_that_does_not_exist_is_a_422_that_is_documented(api: TestClient, path: str) -> None:
    answer = api.get(f"/jobs/{submit(api)}/{path}?variant=null")
    assert (answer.status_code, answer.json()["field"]) == (422, "variant")
    operation = api.get("/openapi.json").json()["paths"][f"/jobs/{{job_id}}/{path}"]["get"]
    assert "application/problem+json" in operation["responses"]["422"]["content"]


def test_of_a_thousand_unknown_parameters_only_some_are_listed(api: TestClient) -> None:
    answer = api.get("/jobs?" + "&".join(f"p{number}" for number in range(1000)))
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) <= 50
