"""Allowed host names: a foreign name that resolves to this server is refused (DNS rebinding)."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.helpers.api_world import World


def served(world: World, **settings: Any) -> TestClient:
    return world.client(world.settings.model_copy(update=settings))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:",
        "LOCALHOST:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "192.0.2.7",
        "api:8000",
        "app.localhost",
        "gpu-box",
    ],
)
def test_addresses_and_names_that_cannot_be_registered_are_answered(api: TestClient, host: str) -> None:
    assert api.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.example"]
)
def test_a_foreign_host_name_is_refused_and_the_setting_named(api: TestClient, host: str) -> None:
    answer = api.get("/jobs", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")
    assert "LONGTAKE_ALLOWED_HOSTS" in answer.json()["fix"]
    assert "links" not in answer.text


@pytest.mark.parametrize("host", ["a b", "evil.example/x", "a@b", "[::1", "[zz]", "x:99999", "é.example"])
def test_what_is_no_host_is_refused(api: TestClient, host: str) -> None:
    answer = api.get("/jobs", headers=[(b"Host", host.encode())])
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_http")


def test_names_of_the_settings_are_answered(world: World) -> None:
    with served(world, allowed_hosts="video.example, *.tunnel.example") as api:
        answers = {
            host: api.get("/healthz", headers={"Host": host}).status_code
            for host in ("video.example", "VIDEO.example.:443", "a.tunnel.example", "tunnel.example", "x.video.example")
        }
    assert answers == {
        "video.example": 200,
        "VIDEO.example.:443": 200,
        "a.tunnel.example": 200,
        "tunnel.example": 421,
        "x.video.example": 421,
    }


def test_the_public_address_is_answered_and_an_asterisk_answers_all(world: World) -> None:
    with served(world, public_base_url="https://video.example/api") as api:
        assert api.get("/healthz", headers={"Host": "video.example"}).status_code == 200
        assert api.get("/healthz", headers={"Host": "evil.example"}).status_code == 421
    with served(world, allowed_hosts="*") as api:
        assert api.get("/healthz", headers={"Host": "evil.example"}).status_code == 200


def test_http_1_0_without_a_host_is_answered(world: World) -> None:
    with world.client() as api:
        assert api.get("/healthz", headers={"Host": ""}).status_code == 200
