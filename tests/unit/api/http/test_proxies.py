"""Headers of proxies are applied only if the proxy is trusted."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from api.http.proxies import TrustedProxies
from core.service.domain.addresses import networks_of
from tests.helpers.api_world import PROMPT, World

TOLD = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "video.example",
    "X-Forwarded-Prefix": "/longtake",
    "X-Forwarded-For": "198.51.100.7",
}
PUBLIC = "https://video.example/longtake"


def behind(world: World, proxies: str | None = "10.0.0.0/8", client: str = "10.1.2.3") -> TestClient:
    """A client whose connections come from `client`."""
    settings = world.settings.model_copy(update={"trusted_proxies": proxies, "allowed_hosts": "video.example"})
    api = world.client(settings)
    return TestClient(api.app, base_url="http://testserver", follow_redirects=False, client=(client, 4711))


def test_links_location_and_problems_follow_a_trusted_proxy(world: World) -> None:
    with behind(world) as api:
        made = api.post("/jobs", json={"prompt": PROMPT}, headers=TOLD)
        missing = api.get("/jobs/job_nobody", headers=TOLD)
        document = api.get("/openapi.json", headers=TOLD)
        slash = api.get("/jobs/", headers=TOLD)
        api.post("/jobs", json={"prompt": PROMPT})
        pages = api.get("/jobs?limit=1", headers=TOLD)
    assert made.headers["location"] == made.json()["links"]["self"] == f"{PUBLIC}/jobs/{made.json()['id']}"
    assert missing.json()["type"] == "/longtake/problems/job_not_found"
    assert document.json()["servers"] == [{"url": "/longtake"}]
    assert slash.headers["location"] == "/longtake/jobs"
    assert pages.links["next"]["url"].startswith(f"{PUBLIC}/jobs?")


@pytest.mark.parametrize(("proxies", "client"), [(None, "127.0.0.1"), ("10.0.0.0/8", "192.0.2.1"), ("10.0.0.1", "x")])
def test_headers_of_untrusted_addresses_are_ignored(world: World, proxies: str | None, client: str) -> None:
    with behind(world, proxies, client) as api:
        made = api.post("/jobs", json={"prompt": PROMPT}, headers=TOLD)
    assert made.headers["location"].startswith("http://testserver/jobs/")


def seen(headers: Mapping[str, str], client: str = "10.0.0.1", proxies: str = "10.0.0.0/8, ::1") -> dict[str, Any]:
    """What an application sees of a request with these headers."""
    scopes = list[Scope]()

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        scopes.append(scope)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None: ...

    raw = [(name.lower().encode(), value.encode()) for name, value in {"Host": "inner:8000", **headers}.items()]
    scope = {"type": "http", "scheme": "http", "path": "/jobs", "root_path": "", "client": (client, 1), "headers": raw}
    asyncio.run(TrustedProxies(app, networks_of(proxies))(scope, receive, send))
    (found,) = scopes
    host = dict(found["headers"])[b"host"].decode()
    return {"url": f"{found['scheme']}://{host}{found['path']}", "client": found["client"][0]}


@pytest.mark.parametrize(
    ("headers", "url", "client"),
    [
        ({}, "http://inner:8000/jobs", "10.0.0.1"),
        ({"X-Forwarded-Proto": "https"}, "https://inner:8000/jobs", "10.0.0.1"),
        ({"X-Forwarded-Host": "a.example"}, "http://a.example/jobs", "10.0.0.1"),
        ({"X-Forwarded-Host": "a.example:8443"}, "http://a.example:8443/jobs", "10.0.0.1"),
        ({"X-Forwarded-Host": "a.example", "X-Forwarded-Port": "8080"}, "http://a.example:8080/jobs", "10.0.0.1"),
        (
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https"},
            "https://a.example/jobs",
            "10.0.0.1",
        ),
        ({"X-Forwarded-Port": "8443", "X-Forwarded-Proto": "https"}, "https://inner:8443/jobs", "10.0.0.1"),
        ({"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}, "http://inner:8000/jobs", "198.51.100.7"),
        ({"X-Forwarded-For": "198.51.100.7, 10.0.0.9"}, "http://inner:8000/jobs", "198.51.100.7"),
        ({"X-Forwarded-For": "[2001:db8::1]:4711"}, "http://inner:8000/jobs", "2001:db8::1"),
        (
            {"X-Forwarded-For": "198.51.100.7, 10.0.0.9", "X-Forwarded-Proto": "http, https, http"},
            "https://inner:8000/jobs",
            "198.51.100.7",
        ),
        (
            {"Forwarded": 'for="[2001:db8::1]:4711";proto=https;host="a.example:8443"'},
            "https://a.example:8443/jobs",
            "2001:db8::1",
        ),
        ({"Forwarded": "for=203.0.113.9, for=198.51.100.7;proto=https"}, "https://inner:8000/jobs", "198.51.100.7"),
        (
            {"Forwarded": "for=203.0.113.9;host=evil.example;proto=https, for=198.51.100.7, for=10.0.0.9;proto=http"},
            "http://inner:8000/jobs",
            "198.51.100.7",
        ),
        (
            {"Forwarded": "proto=http;host=evil.example, for=198.51.100.7;host=a.example;proto=https, for=10.0.0.9"},
            "https://a.example/jobs",
            "198.51.100.7",
        ),
        ({"Forwarded": "host=evil.example", "X-Forwarded-Proto": "https"}, "https://inner:8000/jobs", "10.0.0.1"),
        ({"X-Forwarded-Prefix": "/a/b/"}, "http://inner:8000/a/b/jobs", "10.0.0.1"),
    ],
)
def test_each_header_counts(headers: dict[str, str], url: str, client: str) -> None:
    assert seen(headers) == {"url": url, "client": client}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Proto": "javascript"},
        {"X-Forwarded-Host": "evil.example/path"},
        {"X-Forwarded-Host": "a b"},
        {"X-Forwarded-Port": "99999"},
        {"X-Forwarded-Port": "x"},
        {"X-Forwarded-Prefix": "//evil.example"},
        {"X-Forwarded-Prefix": "/a?b"},
        {"X-Forwarded-Prefix": "https://evil.example"},
        {"X-Forwarded-For": "unknown"},
        {"X-Forwarded-For": "_hidden"},
        {"Forwarded": "for=unknown;proto=ftp;host=a/b"},
        {"Forwarded": ";;=,"},
    ],
)
def test_what_cannot_be_is_passed_over(headers: dict[str, str]) -> None:
    assert seen(headers) == {"url": "http://inner:8000/jobs", "client": "10.0.0.1"}


def test_a_proxy_on_an_ipv6_socket_is_known_by_its_ipv4_address() -> None:
    assert seen({"X-Forwarded-Proto": "https"}, client="::ffff:10.0.0.1")["url"].startswith("https:")


def test_a_forwarded_name_must_be_allowed_as_well(world: World) -> None:
    with behind(world) as api:
        answer = api.get("/jobs", headers={**TOLD, "X-Forwarded-Host": "evil.example"})
    assert answer.status_code == 421


def test_the_document_names_the_public_address_of_the_settings(world: World) -> None:
    public = "https://video.example/api"
    with world.client(world.settings.model_copy(update={"public_base_url": public})) as api:
        assert api.get("/openapi.json").json()["servers"] == [{"url": public}]
        assert api.get("/jobs/job_nobody").json()["type"] == "/api/problems/job_not_found"


def test_the_documentation_works_behind_a_prefix(world: World) -> None:
    with behind(world) as api:
        page = api.get("/docs", headers=TOLD)
    assert 'src="docs/swagger-ui-bundle.js"' in page.text
    assert 'url: "openapi.json"' in page.text
