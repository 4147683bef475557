"""HTML pages load nothing from other origins, and run only their own scripts."""

import base64
import hashlib
import re

import pytest
from fastapi.testclient import TestClient

from api.http.pages import policy_of


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_another_origin(api: TestClient, path: str) -> None:
    html = api.get(path).text
    assert re.findall(r"""(?:src|href)=["']?(?:https?:)?//[^"' >]+""", html) == []
    assert re.findall(r"""(?:url\(|@import|import )["']?https?:""", html) == []


def test_everything_that_the_documentation_loads_is_served_here(api: TestClient) -> None:
    html = api.get("/docs").text
    loaded = re.findall(r"""(?:src|href)="((?!data:)[^"]+)"|url: "([^"]+)\"""", html)
    paths = [f"/{own or other}" for own, other in loaded]
    assert len(paths) >= 3
    assert {path: api.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)
    assert api.get("/docs/swagger-ui-bundle.js").headers["content-type"].startswith("text/javascript")
    assert api.get("/docs/other.js").status_code == 404


@pytest.mark.parametrize("path", ["/docs"])
def test_a_pages_policy_allows_its_own_scripts_and_no_others(api: TestClient, path: str) -> None:
    page = api.get(path)
    policy = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    ]
    assert policy["script-src"].split(" ") == ["'self'", *(f"'sha256-{digest}'" for digest in hashes)]
    assert (policy["default-src"], policy["object-src"]) == ("'self'", "'none'")


def test_scripts_are_allowed_whatever_their_attributes_and_files_are_not_taken_for_scripts() -> None:
    html = '<script src="a.js"></script><script type="module">b()</script><script>c()</script>'
    assert policy_of(html).count("sha256-") == 2


def test_a_browsers_question_for_an_icon_is_answered(api: TestClient) -> None:
    assert api.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
