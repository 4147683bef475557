"""CORS: media may be read from any origin, everything else from the origins in the settings."""

import pytest
from fastapi.testclient import TestClient

from tests.helpers.api_world import World, submit

APP = "https://app.example"
PREFLIGHT = {
    "Origin": APP,
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "authorization,last-event-id,if-none-match,range,idempotency-key,x-of-mine",
}
MEDIA = ("playlist.m3u8", "video", "video.mp4", "thumbnail.jpg", "chunks/00000.mp4", "refined/00000.mp4")


def opened(world: World, origins: str | None) -> TestClient:
    return world.client(world.settings.model_copy(update={"cors_origins": origins}))


@pytest.mark.parametrize("path", ["playlist.m3u8", "video"])
def test_players_of_any_origin_may_ask_with_any_header(api: TestClient, path: str) -> None:
    answer = api.options(f"/jobs/job_a/{path}", headers=PREFLIGHT)
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert {"*", "authorization", "range", "if-none-match", "last-event-id", "idempotency-key"} <= set(allowed)
    assert "GET" in answer.headers["access-control-allow-methods"]


@pytest.mark.parametrize("path", MEDIA)
def test_media_are_open_to_any_origin_even_before_they_exist(api: TestClient, path: str) -> None:
    answer = api.get(f"/jobs/job_a/{path}", headers={"Origin": APP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (404, "*")
    assert {"ETag", "Retry-After", "Content-Range"} <= set(answer.headers["access-control-expose-headers"].split(", "))


@pytest.mark.parametrize("path", ["/jobs", "/jobs/job_a", "/jobs/job_a/events", "/jobs/job_a/chunks", "/uploads", "/"])
def test_other_routes_are_closed_to_other_origins_unless_a_setting_opens_them(api: TestClient, path: str) -> None:
    for answer in (api.options(path, headers=PREFLIGHT), api.get(path, headers={"Origin": APP})):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert api.options(path, headers=PREFLIGHT).status_code == 204


@pytest.mark.parametrize("path", ["/jobs", "/jobs/job_a", "/jobs/job_a/events", "/uploads"])
def test_an_origin_of_the_settings_may_use_the_whole_api(world: World, path: str) -> None:
    with opened(world, f"https://other.example, {APP}/") as api:
        preflight = api.options(path, headers=PREFLIGHT)
        answer = api.get(path, headers={"Origin": APP})
        stranger = api.get(path, headers={"Origin": "https://evil.example"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-methods"] == preflight.headers["allow"]
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert [a.headers["access-control-allow-origin"] for a in (preflight, answer)] == [APP, APP]
    assert {"ETag", "Location"} <= set(answer.headers["access-control-expose-headers"].split(", "))
    assert "access-control-allow-origin" not in stranger.headers
    assert {a.headers["vary"] for a in (preflight, answer, stranger)} == {"Origin"}


def test_an_asterisk_opens_the_api_to_every_page(world: World) -> None:
    with opened(world, "*") as api:
        answer = api.get(f"/jobs/{submit(api)}", headers={"Origin": "null"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers


def test_a_page_of_the_internet_may_reach_media_in_a_private_network(api: TestClient) -> None:
    headers = {**PREFLIGHT, "Access-Control-Request-Private-Network": "true"}
    assert api.options("/jobs/job_a/video", headers=headers).headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in api.options("/jobs", headers=headers).headers
