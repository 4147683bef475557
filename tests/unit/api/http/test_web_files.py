"""The files of the page: all are served, named, small, and kept by browsers until they change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.http.web_files import INDEX, policy_of_web, web_files
from tests.helpers.api_world import World
from tests.helpers.customers import with_keys

WEB = Path(__file__).resolve().parents[4] / "web"
MAX_BYTES = 250_000
MAX_LINES = 300


def sources() -> Iterator[tuple[str, str]]:
    """(path below web/, text) of every file that is not Python."""
    for file in sorted(WEB.rglob("*.*")):
        if file.is_file() and file.suffix not in {".py", ".pyc"}:
            yield file.relative_to(WEB).as_posix(), file.read_text(encoding="utf-8")


def named_by_the_page() -> list[str]:
    return re.findall(r'(?:src|href)="web/([^"]+)"', dict(sources())[INDEX])


def test_every_file_is_served_with_its_type_and_a_tag(api: TestClient) -> None:
    types = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    for path, text in sources():
        if path == INDEX:
            continue
        answer = api.get(f"/web/{path}")
        assert (answer.status_code, answer.text) == (200, text), path
        assert answer.headers["content-type"] == types[Path(path).suffix]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/web/app.js", "/web/core/dom.js"])
def test_what_a_browser_has_already_is_not_sent_again(api: TestClient, path: str) -> None:
    first = api.get(path)
    assert first.headers["cache-control"] == "no-cache"
    again = api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_page_names_every_module_and_style_so_that_they_load_together() -> None:
    loaded = {path for path, _ in sources() if path.endswith((".js", ".css"))}
    assert {*named_by_the_page()} >= loaded
    assert {*named_by_the_page()} <= {path for path, _ in sources()}


@pytest.mark.parametrize("path", ["other.js", "core/other.js", "..%2Fapi%2Fapp.py", "__init__.py", "core"])
def test_nothing_else_is_served(api: TestClient, path: str) -> None:
    assert api.get(f"/web/{path}").status_code == 404


def test_the_page_is_light() -> None:
    assert sum(len(file.data) for file in web_files().values()) <= MAX_BYTES


def test_files_are_short() -> None:
    assert [path for path, text in sources() if text.count("\n") >= MAX_LINES] == []


def test_text_becomes_markup_nowhere() -> None:
    markup = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|srcdoc"
    )
    assert [path for path, text in sources() if path.endswith(".js") and markup.search(text)] == []


def test_the_policy_has_no_exceptions(api: TestClient) -> None:
    policy = api.get("/").headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert "unsafe" not in policy
    assert (rules["default-src"], rules["script-src"], rules["style-src"]) == ("'none'", "'self'", "'self'")
    assert rules["require-trusted-types-for"] == "'script'"
    html = dict(sources())[INDEX]
    assert re.findall(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", html) == []


def test_the_policy_names_where_media_are_and_nothing_else() -> None:
    policy = policy_of_web(["https://cdn.example", "https://s3.example:9000"])
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["connect-src"] == "'self' https://cdn.example https://s3.example:9000"
    assert rules["script-src"] == "'self'"


def test_a_cdn_is_named(world: World) -> None:
    settings = world.settings.model_copy(update={"media": "https://cdn.example/videos"})
    with world.client(settings) as client:
        assert " https://cdn.example" in client.get("/").headers["content-security-policy"]
        assert "/videos" not in client.get("/").headers["content-security-policy"]


def test_the_page_opens_without_a_key(world: World) -> None:
    with world.client(with_keys(world.settings)) as client:
        assert [client.get(path).status_code for path in ("/", "/web/app.js", "/web/core/dom.js")] == [200] * 3
        assert client.get("/events").status_code == 401
